"""The test split is opened here and nowhere else: scores with intervals, and who has looked.

test.json counts looks by the weights that were looked at. The same weights again, after a kill say, are
the same look; other weights are refused unless the user asks for another look.
"""

from typing import Any, NoReturn

import numpy as np

from ser_tune.dataset import LabelledClips, Standardisation
from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, read_json
from ser_tune.metrics import confusion_matrix, intervals, resampling_units, scores
from ser_tune.model import EmotionNetwork
from ser_tune.training import predict_logits


def looks(folder: ExperimentFolder) -> list[str]:
    """SHA-256 of the weights that have looked at the test split, in order."""
    return list(read_json(folder.test)["weights_sha256"]) if folder.test.exists() else []


def refuse_another_choice(folder: ExperimentFolder, choice: dict[str, Any], *, reopen_test: bool) -> None:
    """Raise InputError if the test split was opened for another candidate or number of epochs."""
    if folder.test.exists() and not is_of(read_json(folder.test), choice) and not reopen_test:
        wanted = f"candidate {choice['candidate']} after {choice['epochs']} epochs, {choice['hyperparameters']},"
        refuse_look(folder, wanted)


def is_of(record: dict[str, Any], choice: dict[str, Any]) -> bool:
    """Whether test.json or a score card is of this candidate and number of epochs."""
    return all(record.get(key) == choice[key] for key in ("candidate", "epochs"))


def refuse_look(folder: ExperimentFolder, wanted: str) -> NoReturn:
    """Raise InputError: `wanted`, in words, is not what the test split was opened for."""
    seen = read_json(folder.test)
    raise InputError(
        f"the test split was already looked at by candidate {seen['candidate']} after {seen['epochs']} epochs, "
        f"and now {wanted} would look too; a test split that one chooses on is no test, so it stays closed and the "
        "earlier outcome as it is. --reopen-test opens it again, and test.json counts that"
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
    """The scores of test.json, `speakers` and `corpora` in the order of the test clips."""
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
