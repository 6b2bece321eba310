"""Accuracy, UAR and macro F1 from confusion matrices, and their intervals by resampling; pure numpy.

Classes are integers from 0; rows of a confusion matrix are the truth. The scores take any leading
dimensions [..., classes, classes]; of a matrix without clips they are nan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Classes = npt.NDArray[np.integer[Any]]
Confusion = npt.NDArray[np.integer[Any]]
Score = npt.NDArray[np.float64]

METRIC_NAMES: Mapping[str, str] = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro F1"}
FEW_UNITS = 10  # intervals from fewer speakers than this come out too narrow, and users are told so


@dataclass(frozen=True)
class Scores:
    """The three scores of one confusion matrix (numbers) or of many (arrays of the leading dimensions)."""

    accuracy: Any
    uar: Any
    macro_f1: Any


def confusion_matrix(truth: Classes, predicted: Classes, n_classes: int) -> Confusion:
    """Counts [classes, classes]: rows are the truth, columns the prediction."""
    cells = _cells(truth, predicted, n_classes)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def accuracy(confusion: Confusion) -> Score:
    """Share of clips recognised (WA, WAR) [...]."""
    return _ratio(_diagonal(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def uar(confusion: Confusion) -> Score:
    """Unweighted average recall (UA, balanced accuracy): mean recall of the classes in the truth [...]."""
    return _mean_where(_diagonal(confusion), confusion.sum(axis=-1))


def macro_f1(confusion: Confusion) -> Score:
    """Mean F1 = 2 hits / (true + predicted) of the classes in the truth or the prediction [...]."""
    return _mean_where(2 * _diagonal(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def scores(confusion: Confusion) -> Scores:
    """All three scores; plain numbers for one matrix."""
    values = [metric(confusion) for metric in (accuracy, uar, macro_f1)]
    return Scores(*(value.item() if value.ndim == 0 else value for value in values))


def resampling_units(speakers: npt.NDArray[Any], protocol: str) -> tuple[npt.NDArray[Any], Literal["speaker", "clip"]]:
    """The groups that `intervals` shall resample [clips], and what one of them is.

    Speakers, where the protocol keeps them apart and two or more were tested, for clips of a speaker are
    alike; otherwise each clip by itself, which tells nothing about new speakers.
    """
    if protocol == "speaker" and len(np.unique(speakers)) >= 2:
        return speakers, "speaker"
    return np.arange(len(speakers)), "clip"


def intervals(
    truth: Classes,
    predicted: Classes,
    groups: npt.NDArray[Any],
    n_classes: int,
    seed: int,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of accuracy, uar and macro_f1, drawing whole groups (ids [clips]).

    One group alone tells nothing of others: its intervals are 0 to 1; with few they come out too narrow.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return dict.fromkeys(("accuracy", "uar", "macro_f1"), (0.0, 1.0))
    cells = group * n_classes**2 + _cells(truth, predicted, n_classes)
    per_group = np.bincount(cells, minlength=len(names) * n_classes**2).reshape(len(names), n_classes**2)
    # Groups with the same matrix are interchangeable; single clips have at most n_classes ** 2 kinds.
    kinds, counts = np.unique(per_group, axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(names), counts / len(names), size=n_resamples)
    resampled = scores((draws @ kinds).reshape(n_resamples, n_classes, n_classes))
    tails = [(1 - level) / 2, (1 + level) / 2]
    bounds = {name: np.quantile(getattr(resampled, name), tails) for name in ("accuracy", "uar", "macro_f1")}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def _cells(truth: Classes, predicted: Classes, n_classes: int) -> Classes:
    """Number of the confusion matrix's cell that each clip counts in, row by row [clips]."""
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} true classes and {len(predicted)} predicted ones; expected as many")
    both = np.concatenate([truth, predicted])
    if both.size and (both.min() < 0 or both.max() >= n_classes):
        raise ValueError(f"classes {both.min()} to {both.max()}; expected 0 to {n_classes - 1}")
    return np.asarray(truth, dtype=np.int64) * n_classes + predicted


def _diagonal(confusion: Confusion) -> Confusion:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Score:
    ratio: Score = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return ratio


def _mean_where(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Score:
    """Mean over the last dimension of part / whole, of the classes with whole > 0."""
    present = whole > 0
    ratios = np.divide(part, whole, out=np.zeros(whole.shape), where=present)
    return _ratio(ratios.sum(axis=-1), present.sum(axis=-1))
