"""Recordings -> rows of the cache: their facts and features, or the error that one of them brings about.

Whatever a recording brings about becomes its row's error, so that it never costs the recordings beside it.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ser_tune.audio import AudioFacts, describe, read_audio
from ser_tune.config import FeatureConfig
from ser_tune.errors import AudioError
from ser_tune.features import Analysis, extract_features, prepare

TRY_AGAIN = -1  # stands for the size where the error may pass without a change of the recording

Row = dict[str, Any]


def extract_rows(paths: Sequence[str], features: FeatureConfig, analysis: Analysis | None = None) -> list[Row]:
    """Return one row per recording, in order, with the columns of a shard; `features` is flat, or None."""
    return [_extract(path, features, analysis) for path in paths]


def stamp(path: str) -> tuple[int, int]:
    """Size [bytes] and time of change [ns] of a file; TRY_AGAIN and 0 if it cannot be reached."""
    try:
        status = os.stat(path)  # noqa: PTH116 # a Path per recording costs as much as the call
    except (OSError, ValueError):
        return TRY_AGAIN, 0
    return status.st_size, status.st_mtime_ns


def _extract(path: str, features: FeatureConfig, analysis: Analysis | None) -> Row:
    size, mtime_ns = stamp(path)
    values = None
    try:
        waveform, sample_rate = read_audio(path)
        facts = describe(waveform, sample_rate)
        values = extract_features(prepare(waveform, sample_rate, features)[None], features, analysis)[0]
    except AudioError as error:
        facts = AudioFacts(error=str(error))
        if facts.error.startswith("cannot be opened"):
            size = TRY_AGAIN
    except Exception as error:  # noqa: BLE001 # whatever one recording brings about, the others go on
        facts = AudioFacts(error=f"{type(error).__name__}: {error}")
        size = TRY_AGAIN
    n_coefficients, n_frames = (None, None) if values is None else values.shape
    flat = None if values is None else values.ravel()
    row = {"path": path, "size": size, "mtime_ns": mtime_ns, **asdict(facts), "features": flat}
    return {**row, "n_coefficients": n_coefficients, "n_frames": n_frames}
