"""Recordings -> facts and features in Parquet under feature_cache/<fingerprint>/, by Ray tasks; incremental.

Each recording is decoded once. What the cache holds of it counts as long as its size and time of change stay.
A recording that cannot be used is a row with its error; one that could not be opened is tried again next time.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import ray

from ser_tune.audio import AudioFacts
from ser_tune.config import FeatureConfig, to_json
from ser_tune.errors import RunError
from ser_tune.features import FEATURES_VERSION, Analysis, Features, analysis_of
from ser_tune.files import require_writable
from ser_tune.rows import TRY_AGAIN, extract_rows, stamp
from ser_tune.shards import Shard, publish, read_manifest, read_shard, write_shard

CLIPS_PER_SHARD = (16, 512)  # fewer cost too many tasks and files, more too much of a kill's work
_BYTES_PER_SHARD = 2**26  # of features, where clips are long
_FACTS = tuple(item.name for item in dataclasses.fields(AudioFacts))


@dataclass(frozen=True)
class FeatureCache:
    """The facts of every recording asked for, by path, and access to their features."""

    facts: dict[str, AudioFacts]
    n_extracted: int
    """Readable recordings that this call extracted."""
    n_reused: int
    """Readable recordings that were there already."""
    notices: tuple[str, ...]
    """Shards that were damaged and were extracted anew."""
    folder: Path
    _settings: FeatureConfig
    _places: dict[str, tuple[Shard, int]]

    @property
    def n_bytes(self) -> int:
        """Size of the shards in use on the disk."""
        return sum(shard.n_bytes for shard in {shard for shard, _ in self._places.values()})

    def only(self, sha256s: Sequence[str]) -> "FeatureCache":
        """The same without facts and with the features of these alone: little to keep, or to send to a worker."""
        return dataclasses.replace(self, facts={}, _places={key: self._places[key] for key in sha256s if key in self})

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._places

    def n_bytes_of(self, n_clips: int) -> int:
        """Size of what `load` returns of so many clips."""
        return 4 * n_clips * math.prod(self._settings.shape)

    def load(self, sha256s: Sequence[str]) -> Features:
        """Return float32 [clips, coefficients, frames] in the order asked; RunError if a shard is damaged."""
        features = np.empty((len(sha256s), *self._settings.shape), np.float32)
        wanted: dict[Shard, list[tuple[int, int]]] = {}
        for position, sha256 in enumerate(sha256s):
            if sha256 not in self:
                raise RunError(
                    f"{self.folder} holds no features of the audio {sha256}: its recording has changed or vanished "
                    "since the search began; run the same command again"
                )
            shard, row = self._places[sha256]
            wanted.setdefault(shard, []).append((position, row))
        for shard, pairs in wanted.items():
            column = read_shard(self.folder, shard, ["features"])["features"].combine_chunks()
            values, starts = column.values.to_numpy(), column.offsets.to_numpy()
            for position, row in pairs:
                features[position] = values[starts[row] : starts[row + 1]].reshape(features.shape[1:])
        return features


@dataclass
class _Index:
    """What the published shards hold: the latest row of each path, and a place of each audio's features."""

    folder: Path
    rows: dict[str, tuple[int, int, AudioFacts]] = field(default_factory=dict)
    """Size [bytes] and time of change [ns] of the file, as `stamp` gives them, and what decoding told."""
    places: dict[str, tuple[Shard, int]] = field(default_factory=dict)

    def add(self, shard: Shard) -> None:
        table = read_shard(self.folder, shard, ["path", "size", "mtime_ns", *_FACTS])
        for number, (path, size, mtime_ns, *facts) in enumerate(zip(*table.to_pydict().values(), strict=True)):
            self.rows[path] = size, mtime_ns, AudioFacts(*facts)
            if not self.facts(path).error:
                self.places[self.facts(path).sha256] = shard, number

    def holds(self, path: str) -> bool:
        """Whether the file has not changed since its row was written."""
        size, mtime_ns, _ = self.rows.get(path, (TRY_AGAIN, 0, None))
        return size != TRY_AGAIN and (size, mtime_ns) == stamp(path)

    def facts(self, path: str) -> AudioFacts:
        return self.rows[path][2]


def fingerprint(features: FeatureConfig) -> str:
    """Return 16 hexadecimal digits that differ where the features of a recording may."""
    return hashlib.sha256(json.dumps(_about(features), sort_keys=True).encode()).hexdigest()[:16]


def _about(features: FeatureConfig) -> dict[str, Any]:
    return {"features": to_json(features), "features_version": FEATURES_VERSION}


def extract(
    paths: Sequence[str],
    features: FeatureConfig,
    cache_dir: Path,
    *,
    start_ray: Callable[[], object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    beside_trials: bool = False,
) -> FeatureCache:
    """Return facts and features of the recordings at the absolute `paths`, extracting what is not there yet.

    Only then is `start_ray` called, without which Ray must be initialised, and `progress`, with the recordings
    done and to do. `beside_trials` extracts though trials hold all processors, instead of waiting for one.
    """
    folder = cache_dir.absolute() / fingerprint(features)
    index, damaged = _read_index(folder)
    missing = [path for path in dict.fromkeys(paths) if not index.holds(path)]
    notices = []
    if missing:
        require_writable(folder, "--cache-dir")
        publish(folder, _about(features), [], withdrawn=damaged)
        with ThreadPoolExecutor(1) as beside:  # librosa takes a second to import: Ray starts meanwhile
            analysis = beside.submit(analysis_of, features)
            if start_ray:
                start_ray()
        _extract_missing(missing, features, analysis.result(), index, progress, beside_trials)
        notices = [f"{folder / name} was damaged or gone; what is needed of it was extracted anew" for name in damaged]
    facts = {path: index.facts(path) for path in paths}
    n_extracted = sum(not facts[path].error for path in missing)
    return FeatureCache(
        facts=facts,
        n_extracted=n_extracted,
        n_reused=sum(not fact.error for fact in facts.values()) - n_extracted,
        notices=tuple(notices),
        folder=folder,
        _settings=features,
        _places=index.places,
    )


def _read_index(folder: Path) -> tuple[_Index, list[str]]:
    """What is published, and the names of the shards that cannot be used."""
    index, damaged = _Index(folder), []
    for shard in read_manifest(folder):
        try:
            index.add(shard)
        except RunError:
            damaged.append(shard.name)
    return index, damaged


def _extract_missing(
    missing: list[str],
    features: FeatureConfig,
    analysis: Analysis,
    index: _Index,
    progress: Callable[[int, int], None] | None,
    beside_trials: bool,
) -> None:
    """Publish each shard as soon as its task ends, so that a kill loses only the unfinished ones."""
    done = 0
    report = progress or (lambda _done, _total: None)
    report(done, len(missing))
    for shard in _run_tasks(missing, features, analysis, index.folder, beside_trials):
        try:
            index.add(shard)
        except RunError as error:
            raise RunError(
                f"a worker wrote {shard.name}, but it is not in {index.folder} here; "
                "--cache-dir must lie on storage that all nodes share"
            ) from error
        publish(index.folder, _about(features), [shard])
        done += shard.n_rows
        report(done, len(missing))


def _run_tasks(
    missing: list[str], features: FeatureConfig, analysis: Analysis, folder: Path, beside_trials: bool
) -> Iterator[Shard]:
    """Yield the shards in the order in which tasks finish them."""
    n_cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    n_clips = _clips_per_shard(len(missing), n_cpus, features)
    batches = (missing[first : first + n_clips] for first in range(0, len(missing), n_clips))
    task = ray.remote(num_cpus=0 if beside_trials else 1, scheduling_strategy="SPREAD")(extract_shard)
    shared = ray.put(analysis)

    def start(n_tasks: int | None) -> list[Any]:
        return [task.remote(batch, features, folder, shared) for batch in islice(batches, n_tasks)]

    running = start(n_cpus if beside_trials else None)
    while running:
        [done], running = ray.wait(running)
        running += start(1)
        yield ray.get(done)


def _clips_per_shard(n_missing: int, n_cpus: int, features: FeatureConfig) -> int:
    """As many shards for each processor as for the others, so that all end together."""
    fewest, most = CLIPS_PER_SHARD
    most = max(1, min(most, _BYTES_PER_SHARD // (4 * math.prod(features.shape))))
    n_rounds = max(4, math.ceil(n_missing / (most * n_cpus)))
    return min(most, max(fewest, math.ceil(n_missing / (n_rounds * n_cpus))))


def extract_shard(paths: Sequence[str], features: FeatureConfig, folder: Path, analysis: Analysis) -> Shard:
    """Task of Ray: write the rows of some recordings as one shard; it counts once it is published."""
    return write_shard(folder, extract_rows(paths, features, analysis))
