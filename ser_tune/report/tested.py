"""The test's part of the report: confusion matrix, scores by corpus and by emotion."""

from collections.abc import Mapping
from typing import Any

from ser_tune import figures
from ser_tune.metrics import METRIC_NAMES
from ser_tune.report.evidence import Evidence, chance
from ser_tune.report.markup import Html, element, paragraph, percent, picture, section, table
from ser_tune.testing import is_of


def tested(evidence: Evidence) -> Html:
    """The confusion matrix, the scores by corpus and by emotion."""
    if not evidence.test:
        return section("Test", paragraph("Not tested yet."))
    confusion = figures.confusion_figure(evidence.test["confusion"], evidence.test["emotions"])
    return section(
        "Test",
        paragraph(
            f"{_who(evidence)}, trained on the whole training split, judged the test clips. "
            "Rows are the true emotions, columns what the network said."
        ),
        picture(evidence.folder.figures, "confusion", confusion, "Confusion matrix of the test clips, truth in rows"),
        element("h3", "By corpus"),
        *_by_corpus(evidence, evidence.test["per_corpus"]),
        element("h3", "By emotion"),
        *_by_emotion(evidence, evidence.test["per_emotion"]),
    )


def _who(evidence: Evidence) -> str:
    """The candidate whose test scores there are: the choice, or that of an earlier time."""
    test = evidence.test or {}
    if evidence.selection and not is_of(test, evidence.selection):
        return f"An earlier choice, {evidence.names.get(test['candidate'], test['candidate'])}"
    return "The chosen candidate"


def _by_corpus(evidence: Evidence, scores: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    tested = evidence.tested
    chances = {name: chance(tested[tested["corpus"] == name]) for name in scores}
    largest = {name: share for name, (share, _) in chances.items()}
    rows = [
        (name, *(percent(row[score]) for score in METRIC_NAMES), *map(percent, chances[name]), row["n"])
        for name, row in scores.items()
    ]
    figure = figures.scores_figure(
        "Test scores by corpus", scores, METRIC_NAMES, largest, "always the most frequent emotion"
    )
    header = ["corpus", "accuracy", "UAR", "macro F1", "accuracy by chance", "UAR by chance", "clips"]
    return [
        paragraph(
            "One easy corpus can carry the pooled score. By chance: always naming the corpus's most frequent emotion."
        ),
        picture(evidence.folder.figures, "corpora", figure, "Accuracy, UAR and macro F1 of each corpus"),
        table(header, rows),
    ]


def _by_emotion(evidence: Evidence, scores: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    n_tested = sum(row["n"] for row in scores.values())
    shares = {name: row["n"] / n_tested for name, row in scores.items()}
    names = {"recall": "recall", "precision": "precision", "f1": "F1"}
    rows = [
        (name, *(percent(row[score]) for score in names), percent(shares[name]), row["n"])
        for name, row in scores.items()
    ]
    figure = figures.scores_figure("Test scores by emotion", scores, names, shares, "guessing as often as it occurs")
    header = ["emotion", "recall", "precision", "F1", "by chance", "clips"]
    return [
        paragraph(
            "Recall: the share of an emotion's clips that are recognised. Precision: the share of clips so named that "
            "are of this emotion. By chance: guessing each emotion as often as it occurs."
        ),
        picture(evidence.folder.figures, "emotions", figure, "Recall, precision and F1 of each emotion"),
        table(header, rows),
    ]
