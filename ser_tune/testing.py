"""The test split is opened here and nowhere else: scores with intervals, and who has looked.

test.json counts looks by the weights that were looked at. The same weights again, after a kill say, are
the same look; for other weights it stays closed unless the user asks for another look.
"""

from typing import Any

import numpy as np

from ser_tune.dataset import LabelledClips, Standardisation
from ser_tune.errors import RunError
from ser_tune.experiment import ExperimentFolder, read_json
from ser_tune.metrics import confusion_matrix, intervals, resampling_units, scores
from ser_tune.model import EmotionNetwork
from ser_tune.training import predict_logits


def looks(folder: ExperimentFolder) -> list[str]:
    """SHA-256 of the weights that have looked at the test split, in order."""
    return list(read_json(folder.test)["weights_sha256"]) if folder.test.exists() else []


def is_of(record: dict[str, Any], choice: dict[str, Any]) -> bool:
    """Whether test.json or a score card is of this candidate and number of epochs."""
    return all(record.get(key) == choice[key] for key in ("candidate", "epochs"))


def may_look(folder: ExperimentFolder, weights: str, *, reopen_test: bool) -> bool:
    """Whether these weights may be tested: nobody else's were, or the user asks for another look."""
    seen = looks(folder)
    return not seen or weights in seen or reopen_test


def why_closed(folder: ExperimentFolder) -> str:
    """Why the test split stays closed for other weights than those that looked at it, and how to open it."""
    seen = read_json(folder.test)
    return (
        f"not opened again: it was already looked at by candidate {seen['candidate']} after {seen['epochs']} epochs, "
        "and a test split that one chooses on is no test; --reopen-test opens it, and test.json counts that"
    )


def evaluate(
    network: EmotionNetwork,
    standardisation: Standardisation,
    test: LabelledClips,
    speakers: list[str],
    corpora: list[str],
    protocol: str,
    seed: int,
) -> dict[str, Any]:
    """The scores of test.json, `speakers` and `corpora` in the order of the test clips; RunError on a training clip."""
    if (test.fold[test.rows] >= 0).any():
        raise RunError("leak: clips of the training split are in the test split; it was not opened")
    truth = test.part_labels
    predicted = predict_logits(network, standardisation, test).argmax(dim=1).numpy()
    n_classes = len(test.emotions)
    confusion = confusion_matrix(truth, predicted, n_classes)
    groups, unit = resampling_units(np.array(speakers), protocol)
    spread = intervals(truth, predicted, groups, n_classes, seed)
    corpus_of = np.array(corpora)
    return {
        **_scores(confusion),
        **{f"{metric}_interval": [float(low), float(high)] for metric, (low, high) in spread.items()},
        "n": len(truth),
        "per_corpus": {
            corpus: _scores(confusion_matrix(truth[here], predicted[here], n_classes)) | {"n": int(here.sum())}
            for corpus in sorted(set(corpora))
            for here in [corpus_of == corpus]
        },
        "per_emotion": _per_emotion(confusion, test.emotions),
        "emotions": list(test.emotions),
        "confusion": confusion.tolist(),
        "protocol": protocol,
        "interval_unit": f"{unit}s",
        "n_interval_units": len(np.unique(groups)),
    }


def _scores(confusion: Any) -> dict[str, float]:
    found = scores(confusion)
    return {"accuracy": found.accuracy, "uar": found.uar, "macro_f1": found.macro_f1}


def _per_emotion(confusion: Any, emotions: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Recall, precision and F1 of each emotion; null where the test split or the predictions lack it."""
    rows: dict[str, dict[str, Any]] = {}
    for index, emotion in enumerate(emotions):
        hits, n_true, n_predicted = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
        rows[emotion] = {
            "recall": float(hits / n_true) if n_true else None,
            "precision": float(hits / n_predicted) if n_predicted else None,
            "f1": float(2 * hits / (n_true + n_predicted)) if n_true + n_predicted else None,
            "n": int(n_true),
        }
    return rows
