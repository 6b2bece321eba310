"""Sections of the report on what came out: the candidates with their curves, the test scores."""

import math
from collections.abc import Mapping
from typing import Any

from ser_tune import figures
from ser_tune.figures import METRIC_NAMES
from ser_tune.report.evidence import Evidence, chance
from ser_tune.report.markup import Html, bullets, element, join, paragraph, percent, picture, section, table

DIAGNOSES = {
    "overfitting": "training accuracy ends more than 10 points above validation accuracy: it learns clips by heart.",
    "underfitting": "training accuracy stays low, or validation accuracy still rises at the end: it has not learnt "
    "enough; more epochs or another learning rate may help.",
    "collapsed": "it learnt at most to name the most frequent emotion, or its loss is not a number: often a "
    "learning rate that is too high.",
    "fine": "none of these.",
}


def candidates(evidence: Evidence) -> Html:
    """The candidate table, the comparison and the learning curves."""
    header = ["candidate", f"validation {METRIC_NAMES[evidence.metric]}", "epochs", "folds", "status", "diagnosis"]
    rows = []
    for index, row in enumerate(evidence.candidates):
        mean = f"{row.mean:.1%} ± {100 * row.sd:.1f}" if math.isfinite(row.mean) else "-"
        folds = f"{row.folds_done} of {evidence.n_folds}"
        name = row.candidate.label + (" (chosen)" if index == evidence.winner else "")
        rows.append((name, mean, row.epochs or "-", folds, row.status, row.diagnosis or "-"))
    reason = (evidence.selection or {}).get("reason", "")
    return section(
        "Candidates",
        table(header, rows, marked=evidence.winner),
        paragraph(f"Why this one: {reason.rstrip('.')}.") if reason else Html(),
        paragraph(
            "A candidate is one setting of the hyperparameters, trained afresh on each fold. Its score is the mean of "
            "its folds, ± their standard deviation, at the epoch where the folds' mean curve is highest."
        ),
        _comparison(evidence) if evidence.trials else Html(),
        element("h3", "Learning curves"),
        paragraph(
            "Above the loss, below the scores. Thin lines are folds, thick lines their mean, which an incomplete "
            "candidate does not have. Training accuracy is the running mean over the epoch's batches with dropout on, "
            "so it is lower than after the epoch. All candidates share their scales; losses "
            "beyond twice that of guessing are cut off."
        ),
        element("div", *_curves(evidence), class_="multiples"),
        paragraph("The diagnosis reads the mean curves at the last epoch:"),
        bullets(join(element("strong", name), ": ", meaning) for name, meaning in DIAGNOSES.items()),
    )


def _comparison(evidence: Evidence) -> Html:
    scores = []
    for row in evidence.candidates:
        curves = [fold.curve(evidence.metric) for fold in evidence.folds(row.candidate)]
        scores.append([curve[row.epochs - 1] for curve in curves])  # the last epoch (-1) where none is chosen
    figure = figures.comparison_figure(
        [row.candidate.label for row in evidence.candidates],
        scores,
        [row.mean for row in evidence.candidates],
        evidence.winner,
        evidence.metric,
        evidence.validation_chance,
    )
    alt = f"Validation {METRIC_NAMES[evidence.metric]} of every fold and the mean, one row per candidate"
    return picture(
        evidence.folder.figures,
        "candidates",
        figure,
        alt,
        "A dot is a fold, a bar the mean of the folds, at the candidate's epoch; without one, at the last epoch.",
    )


def _curves(evidence: Evidence) -> list[Html]:
    losses = [loss for trial in evidence.trials.values() for loss in trial.train_loss + trial.val_loss]
    largest = max((loss for loss in losses if math.isfinite(loss)), default=1.0)
    # Guessing costs ln(emotions); room for a diverged first epoch would flatten everybody's curves.
    limit = min(1.05 * largest, 2 * math.log(max(2, len(evidence.emotions))))
    shown = []
    for row in evidence.candidates:
        folds = evidence.folds(row.candidate)
        missing = [] if row.status == "complete" else [row.status, f"{len(folds)} of {evidence.n_folds} folds"]
        title = f"{row.candidate.label}: {', '.join(missing or [row.diagnosis])}"
        figure = figures.candidate_figure(title, folds, evidence.metric, row.epochs, limit, evidence.validation_chance)
        shown.append(
            picture(
                evidence.folder.figures, f"curves-{row.candidate.label}", figure, f"Loss and scores by epoch of {title}"
            )
        )
    return shown


def test(evidence: Evidence) -> Html:
    """The confusion matrix, the scores by corpus and by emotion."""
    if not evidence.test:
        return section("Test", paragraph("Not tested yet."))
    confusion = figures.confusion_figure(evidence.test["confusion"], evidence.test["emotions"])
    return section(
        "Test",
        paragraph(
            "The chosen candidate, trained on the whole training split, judged the test clips. "
            "Rows are the true emotions, columns what the network said."
        ),
        picture(evidence.folder.figures, "confusion", confusion, "Confusion matrix of the test clips, truth in rows"),
        element("h3", "By corpus"),
        *_by_corpus(evidence, evidence.test["per_corpus"]),
        element("h3", "By emotion"),
        *_by_emotion(evidence, evidence.test["per_emotion"]),
    )


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
