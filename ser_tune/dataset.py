"""Manifest and cached features -> arrays for training; standardisation from training rows only.

Parts of a data set are lists of rows into one shared array, so that trials on a node hold it once.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ser_tune.config import Emotion
from ser_tune.errors import RunError

_ROWS_AT_ONCE = 64
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledClips:
    """Some rows of an array of clips. `features` [all, coefficients, frames] may be shared and read-only."""

    features: FloatArray
    labels: IntArray
    """Indices into `emotions` [all]."""
    fold: IntArray
    """Validation fold of each clip, -1 in the test split [all]."""
    rows: IntArray
    """The clips that belong to this part [clips]."""
    emotions: tuple[Emotion, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, selected: npt.NDArray[np.bool_]) -> "LabelledClips":
        """The clips of this part where `selected` [clips] holds."""
        return replace(self, rows=self.rows[selected])

    def without_fold(self, fold: int) -> "LabelledClips":
        """The training part of a fold."""
        return self.where(self.fold[self.rows] != fold)

    def only_fold(self, fold: int) -> "LabelledClips":
        """The validation part of a fold."""
        return self.where(self.fold[self.rows] == fold)

    @property
    def part_labels(self) -> IntArray:
        """Labels of the clips of this part [clips]."""
        return self.labels[self.rows]


def label_clips(clips: pd.DataFrame, features: FloatArray, emotions: tuple[Emotion, ...]) -> LabelledClips:
    """Join rows of the manifest with their features, in the same order; RunError unless they fit."""
    if len(clips) != len(features):
        raise RunError(f"the cache gave features of {len(features)} clips for {len(clips)} of the manifest")
    index = {emotion: position for position, emotion in enumerate(emotions)}
    labels = np.array([index[emotion] for emotion in clips["emotion"]], dtype=np.int64)
    fold = clips["fold"].fillna(-1).to_numpy(dtype=np.int64)
    return LabelledClips(features, labels, fold, np.arange(len(clips)), emotions)


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of each coefficient, over clips and frames [coefficients]."""

    mean: FloatArray
    std: FloatArray


def fit_standardisation(clips: LabelledClips) -> Standardisation:
    """Statistics over the rows of this part alone, summed in float64.

    A coefficient that never varies gets a standard deviation of 1, so that it becomes 0.
    """
    n_coefficients, n_frames = clips.features.shape[1:]
    # Some rows at a time, so that no second copy of the features is made.
    parts = np.array_split(clips.rows, math.ceil(len(clips) / _ROWS_AT_ONCE))
    n_values = len(clips) * n_frames
    mean = np.zeros(n_coefficients)
    for rows in parts:
        mean += clips.features[rows].sum(axis=(0, 2), dtype=np.float64) / n_values
    squares = np.zeros(n_coefficients)
    for rows in parts:
        squares += np.square(clips.features[rows] - mean[:, None]).sum(axis=(0, 2))
    std = np.sqrt(squares / n_values)
    std[std < 1e-8] = 1.0
    return Standardisation(mean.astype(np.float32), std.astype(np.float32))
