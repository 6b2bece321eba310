"""Configuration -> the experiment's data: clips found, features cached, manifest checked, splits assigned.

Also what identifies an experiment, and what its config.json tells. Needs a connected Ray only where
something has to be extracted.
"""

import dataclasses
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ser_tune.cache import FeatureCache, extract
from ser_tune.config import FeatureConfig, SearchConfig, to_json
from ser_tune.corpora import read_clips
from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, identity_differences, read_json
from ser_tune.features import FEATURES_VERSION
from ser_tune.manifest import build_manifest, data_fingerprint, summary
from ser_tune.sample import make_sample_corpora
from ser_tune.splits import assign_splits, check_no_leak

LIBRARIES = ("ray", "torch", "optuna", "librosa", "soxr", "soundfile", "numpy", "pandas", "pyarrow", "scikit-learn")


@dataclass(frozen=True)
class Preparation:
    """The data of one experiment; `clips` has the columns of manifest.parquet, one row per clip used."""

    clips: pd.DataFrame
    excluded: pd.DataFrame
    notices: tuple[str, ...]
    cache: FeatureCache
    """Without facts, with the features of `clips` alone."""
    data_fingerprint: str
    synthetic: bool

    def introduction(self) -> list[str]:
        """What is used, what is not, and what the splits mean, for the terminal."""
        clips, corpora = self.clips, self.clips["corpus"].value_counts().sort_index()
        lines = ["These corpora are synthetic: the scores say nothing about real speech."] if self.synthetic else []
        parts = ", ".join(f"{corpus} {n}" for corpus, n in corpora.items())
        n_test = int((clips["split"] == "test").sum())
        lines.append(
            f"{len(clips)} clips ({parts}) of {clips['speaker'].nunique()} speakers; "
            f"{n_test} in the test split, {len(clips) - n_test} in {clips['fold'].nunique()} folds"
        )
        if len(self.excluded):
            kinds = ", ".join(f"{n} {kind}" for kind, n in summary(self.excluded["reason"]).items())
            lines.append(f"left out: {kinds}; each is listed in excluded.parquet and in the report")
        extracted, reused = self.cache.n_extracted, self.cache.n_reused
        lines.append(f"features: {extracted} extracted, {reused} from the cache in {self.cache.folder}")
        return [*lines, *self.cache.notices, *(f"note: {notice}" for notice in self.notices)]

    def rows(self, split: str) -> pd.DataFrame:
        """The clips of "train" or "test"."""
        return self.clips[self.clips["split"] == split]

    def other_features(self, features: FeatureConfig, cache_dir: Path, **options: Any) -> FeatureCache:
        """The features of another setting of the same clips, extracted where they are missing; see cache.extract."""
        cache = extract(self.clips["path"].tolist(), features, cache_dir, **options)
        return cache.only(self.clips["sha256"].tolist())


def prepare(
    config: SearchConfig, start_ray: Callable[[], None], progress: Callable[[int, int], None] | None = None
) -> Preparation:
    """Find, extract, check and split; InputError where the recordings cannot carry the experiment."""
    data, synthetic = config.data, False
    if data.data_dir is None and data.csv is None:
        folder = config.cache_dir / "sample-corpora"
        make_sample_corpora(folder)
        data, synthetic = dataclasses.replace(data, data_dir=folder), True
    found, left_out = read_clips(data)
    cache = extract(
        [clip.path for clip in found], config.features, config.cache_dir, start_ray=start_ray, progress=progress
    )
    manifest = build_manifest(found, cache.facts, left_out, data)
    splits = assign_splits(manifest.clips, config.splits, config.seed)
    check_no_leak(manifest.clips, splits, config.splits.protocol, keep_everything=data.keep_everything)
    clips = manifest.clips.assign(
        split=splits.split, fold=pd.array([None if fold < 0 else fold for fold in splits.fold], dtype="Int64")
    )
    cache = cache.only(clips["sha256"].tolist())  # the manifest has the facts
    return Preparation(clips, manifest.excluded, splits.notices, cache, data_fingerprint(manifest.clips), synthetic)


def identity(config: SearchConfig, data_fingerprint: str) -> dict[str, Any]:
    """What makes an experiment itself: data, features, splits, model, training and seed."""
    return {"data_fingerprint": data_fingerprint, **settings_identity(config)}


def settings_identity(config: SearchConfig) -> dict[str, Any]:
    """The part of the identity that is known before any recording is read."""
    return {
        "emotions": list(config.data.emotions),
        "keep_everything": config.data.keep_everything,
        "features": {**to_json(config.features), "version": FEATURES_VERSION},
        "splits": to_json(config.splits),
        "model": to_json(config.model),
        "training": _training(config),
        "seed": config.seed,
    }


def _training(config: SearchConfig) -> dict[str, Any]:
    """Without the learning rate, which every candidate has of its own, and the precision, which auto resolves."""
    return {name: value for name, value in to_json(config.training).items() if name not in ("lr", "precision")}


def check_identity(folder: ExperimentFolder, wanted: dict[str, Any]) -> None:
    """Raise InputError if the folder holds an experiment that differs in any of the keys of `wanted`."""
    if not folder.config.exists():
        if folder.trials.exists():
            raise InputError(f"{folder.root} holds trials but no config.json; choose another --experiment")
        return
    held = read_json(folder.config)["identity"]
    held = held if isinstance(held, dict) else {}
    differences = identity_differences({key: held.get(key) for key in wanted}, wanted)
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        if "data_fingerprint" in shown:
            shown = "its recordings or their labels differ from these"
        raise InputError(
            f"{folder.root} holds another experiment ({shown}); choose another --experiment or its settings"
        )


def describe(
    config: SearchConfig, preparation: Preparation, precision: str, network: list[dict[str, Any]]
) -> dict[str, Any]:
    """The content of config.json."""
    return {
        "identity": identity(config, preparation.data_fingerprint),
        "config": to_json(config),
        "data_fingerprint": preparation.data_fingerprint,
        "synthetic": preparation.synthetic,
        "notices": list(preparation.notices),
        "network": network,
        "precision": precision,
        "command": " ".join(["python -m ser_tune.search", *sys.argv[1:]]),
        "versions": {"python": sys.version.split()[0]} | {name: importlib.metadata.version(name) for name in LIBRARIES},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of ser_tune's own source, where it lies in a git checkout."""
    source = Path(__file__).resolve().parent
    command = ["git", "-C", str(source), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except OSError:
        return None
    return found.stdout.strip() or None
