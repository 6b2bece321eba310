"""Recordings -> rows of the cache: their facts and features, or the error that one of them brings about.

Whatever a recording brings about becomes its row's error, so that it never costs the recordings beside it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ser_tune.audio import BLOCK_VALUES, AudioFacts, Waveform, describe, read_blocks
from ser_tune.config import FeatureConfig
from ser_tune.errors import AudioError
from ser_tune.features import extract_features, prepare, prepare_blocks, samples_needed

CLIPS_PER_GROUP = 16  # 1.9 ms a clip on one core; 2.5 ms with 32, 3.1 ms with 64, which leave the processor's cache
_SPECTRA_PER_GROUP = 2**22  # frames x n_fft: many frames must not cost much memory
TRY_AGAIN = -1  # stands for the size where the error may pass without a change of the recording

Row = dict[str, Any]


def extract_rows(paths: Sequence[str], features: FeatureConfig) -> list[Row]:
    """Return one row per recording, in order, with the columns of a shard; `features` is flat, or None."""
    n_clips = max(1, min(CLIPS_PER_GROUP, _SPECTRA_PER_GROUP // (features.n_frames * features.n_fft)))
    groups = (paths[start : start + n_clips] for start in range(0, len(paths), n_clips))
    return [row for group in groups for row in _extract_group(group, features)]


def stamp(path: str) -> tuple[int, int]:
    """Size [bytes] and time of change [ns] of a file; TRY_AGAIN and 0 if it cannot be reached."""
    try:
        status = os.stat(path)  # noqa: PTH116 # a Path per recording costs as much as the call
    except (OSError, ValueError):
        return TRY_AGAIN, 0
    return status.st_size, status.st_mtime_ns


def _extract_group(paths: Sequence[str], features: FeatureConfig) -> list[Row]:
    """The rows of a few recordings, whose features are computed together."""
    decoded = [_decode(path, features) for path in paths]
    usable = [(row, clip) for row, clip in decoded if clip is not None]
    if usable:
        computed = extract_features(np.stack([clip for _, clip in usable]), features)
        for (row, _), values in zip(usable, computed, strict=True):
            row["features"], (row["n_coefficients"], row["n_frames"]) = values.ravel(), values.shape
    return [row for row, _ in decoded]


def _decode(path: str, features: FeatureConfig) -> tuple[Row, Waveform | None]:
    """One recording's row, still without features, and its prepared clip [n_samples] if it can be used."""
    size, mtime_ns = stamp(path)
    clip = None
    head: list[Waveform] = []
    try:
        facts = describe(_keep_head(read_blocks(path), features, head))
        if features.trim_db and sum(map(len, head)) < round(facts.duration_s * facts.sample_rate):
            clip = prepare_blocks(lambda: read_blocks(path), features)
        else:
            clip = prepare(np.concatenate(head), facts.sample_rate, features)
    except AudioError as error:
        facts = AudioFacts(error=str(error))
        if facts.error.startswith("cannot be opened"):
            size = TRY_AGAIN
    except Exception as error:  # noqa: BLE001 # whatever one recording brings about, the others go on
        facts = AudioFacts(error=f"{type(error).__name__}: {error}")
        size = TRY_AGAIN
    row = {"path": path, "size": size, "mtime_ns": mtime_ns, **asdict(facts)}
    return {**row, "features": None, "n_coefficients": None, "n_frames": None}, clip


def _keep_head(
    blocks: Iterable[tuple[Waveform, int]], features: FeatureConfig, head: list[Waveform]
) -> Iterator[tuple[Waveform, int]]:
    """Pass the blocks on; what `prepare` needs of them goes to `head` in mono [samples, 1].

    That is the beginning, or all, up to a bound, where it is the end that tells what was silence.
    """
    n_kept = 0
    for block, sample_rate in blocks:
        wanted = BLOCK_VALUES if features.trim_db else samples_needed(sample_rate, features)
        if n_kept < wanted:
            head.append(block[: wanted - n_kept].mean(axis=1, keepdims=True, dtype=np.float32))
            n_kept += len(head[-1])
        yield block, sample_rate
