"""What the report says first: the choice, its test scores, what to know before quoting them, what they mean."""

from typing import Any

from ser_tune.candidates import make_candidate
from ser_tune.metrics import FEW_UNITS, METRIC_NAMES
from ser_tune.report.evidence import Evidence, chance
from ser_tune.report.markup import Html, bullets, element, interval, join, note, percent, section
from ser_tune.testing import is_of

SCORES = ("accuracy", "uar", "macro_f1")


def headline(evidence: Evidence) -> list[Html]:
    """Choice and test in a few sentences, then the loud notes."""
    chosen, test = evidence.selection, evidence.test
    sentences = _choice(evidence)
    if test and chosen and not is_of(test, chosen):
        sentences.append(f"It was refitted and exported, but not tested. {_closed(evidence)}")
    elif test:
        strangers = " of speakers it has never heard" if evidence.protocol == "speaker" else ""
        sentences.append(
            "Trained on the whole training split and tested on its "
            f"{test['n']} test clips{strangers}, it reaches {', '.join(_with_interval(test, name) for name in SCORES)}."
        )
    elif chosen:
        sentences.append("It has not been tested yet. Run the command below again to finish.")
    return [element("p", " ".join(sentences), class_="headline"), *map(note, _warnings(evidence))]


def _closed(evidence: Evidence) -> str:
    """Why the choice has no test scores although the test split was opened."""
    seen = evidence.test or {}
    name = evidence.names.get(seen["candidate"], seen["candidate"])
    return (
        f"The test split was opened earlier, for {name} at {seen['epochs']} epochs, the choice of that time, whose "
        "scores stand below; a test split that one chooses on is no test. --reopen-test opens it again, and the report "
        "says so."
    )


def _choice(evidence: Evidence) -> list[str]:
    """The chosen candidate, its score, and whether it can be told from the next."""
    chosen = evidence.selection
    if not chosen:
        return ["No candidate is complete yet, so none is chosen. Run the command below again to go on."]
    label, name = make_candidate(chosen["hyperparameters"]).label, evidence.names.get(chosen["candidate"])
    called = label if name in (None, label) else f"{name} ({label})"
    dropped = f" ({len(evidence.drops)} of them dropped by the race)" if evidence.drops else ""
    spread = f"{chosen['mean']:.1%} ± {100 * chosen['sd']:.1f}"
    return [
        f"Of {len(evidence.candidates)} candidates{dropped}, {called} at {chosen['epochs']} epochs was chosen: "
        f"validation {METRIC_NAMES[evidence.metric]} {spread} (mean ± standard deviation of {evidence.counted_folds}; "
        f"corrected 95% interval {interval(*chosen['interval'])}).",
        evidence.named(chosen["certainty"]),
    ]


def _with_interval(test: dict[str, Any], name: str) -> str:
    return f"{METRIC_NAMES[name]} {percent(test[name])} (95% interval {interval(*test[f'{name}_interval'])})"


def _warnings(evidence: Evidence) -> list[Html]:
    """What the reader of the headline must know before quoting it."""
    looks = (evidence.test or {}).get("evaluations", 1)
    unfinished = sum(row.status == "incomplete" for row in evidence.candidates)
    synthetic = join(
        "The voices are synthetic sample corpora, not people: these numbers show that the program works and say "
        "nothing about emotion in speech. For real recordings give ",
        element("code", "--data-dir"),
        ".",
    )
    shared = join(
        "Not speaker-independent: the same speakers are in the training and the test split (protocol utterance, as "
        "published), so this is the score on new clips of known voices. For a new voice it is much lower: measured "
        "with the published network on real recordings, 98% of TESS's clips on such a split, 30% for a TESS speaker it "
        "had never heard. For numbers about new speakers use ",
        element("code", "--splits.protocol speaker"),
        ".",
    )
    seen = join(f"The test split was looked at with {looks} different networks: the score is optimistic.")
    gaps = join(
        f"Incomplete candidates: {unfinished} of {len(evidence.candidates)}. A fold is missing, or a score of it is "
        "not a number; such a candidate cannot be chosen."
    )
    said = [
        (evidence.record["synthetic"], synthetic),
        (evidence.protocol == "utterance", shared),
        (looks > 1, seen),
        (unfinished > 0, gaps),
    ]
    return [sentence for holds, sentence in said if holds]


def definitions(evidence: Evidence) -> Html:
    """Accuracy, UAR, macro F1 and the intervals in words, with what guessing gives."""
    largest, even = chance(evidence.tested)
    unit = (evidence.test or {}).get("interval_unit", "clips")
    number = (evidence.test or {}).get("n_interval_units", len(evidence.tested))
    independent = "No speaker is in both the training and the test split, nor in two folds: speaker-independent."
    resampling = (
        f"The 95% intervals of test scores come from drawing the {number} test {unit} again and again, with replacement"
    )
    caution = "; as speakers are shared, they say nothing about new speakers" if unit == "clips" else ""
    if unit == "speakers" and number < FEW_UNITS:
        caution = "; of so few they come out too narrow"
    items = [
        "Accuracy (weighted accuracy, WA): the share of all clips that are recognised. "
        f"Always naming the most frequent emotion gives {percent(largest)} on these test clips.",
        "UAR (unweighted average recall, unweighted accuracy, UA, balanced accuracy): the recall of each emotion, "
        f"averaged, so that a rare emotion counts as much as a frequent one. Guessing gives {percent(even)}. "
        "Some articles swap the names WA and UA.",
        "Macro F1: the F1 score of each emotion (harmonic mean of recall and precision), averaged.",
        f"{resampling}{caution}.",
        "The 95% intervals of validation scores, and of differences between candidates, are corrected after Nadeau & "
        "Bengio (2003): folds share training clips, so the variance of their mean is taken as 1/J + 1/(k-1) of the "
        f"scores' variance, not as 1/J (J = {len(evidence.blocks)} scores, k = {evidence.n_folds} folds).",
        *([independent] if evidence.protocol == "speaker" else []),
    ]
    return section("What the numbers are", bullets(items))
