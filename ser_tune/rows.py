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
from ser_tune.features import Analysis, extract_features, mono, prepare, prepare_blocks, samples_needed

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
    head: list[Waveform] = []
    try:
        facts = describe(_keep_head(read_blocks(path), features, head))
        if features.trim_db and sum(map(len, head)) < round(facts.duration_s * facts.sample_rate):
            clip = prepare_blocks(lambda: read_blocks(path), features)
        else:
            clip = prepare(np.concatenate(head)[:, None], facts.sample_rate, features)
        values = extract_features(clip[None], features, analysis)[0]
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


def _keep_head(
    blocks: Iterable[tuple[Waveform, int]], features: FeatureConfig, head: list[Waveform]
) -> Iterator[tuple[Waveform, int]]:
    """Pass the blocks on; what `prepare` needs of them goes to `head` in mono [samples].

    That is the beginning, or all, up to a bound, where it is the end that tells what was silence.
    """
    n_kept = 0
    for block, sample_rate in blocks:
        wanted = BLOCK_VALUES if features.trim_db else samples_needed(sample_rate, features)
        if n_kept < wanted:
            head.append(mono(block[: wanted - n_kept]))
            n_kept += len(head[-1])
        yield block, sample_rate
