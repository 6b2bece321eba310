"""Small searches for tests: the sample corpora, a narrow network, a few short trials."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ser_tune.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    SearchConfig,
    SpaceConfig,
    SplitConfig,
    TrainingConfig,
)
from ser_tune.experiment import ExperimentFolder
from ser_tune.pipeline import search

FLAGS = [
    *("--corpora", "ravdess", "tess", "--model.channels", "4", "8", "--model.hidden", "32", "16"),
    *("--training.epochs", "3", "--splits.folds", "3", "--compute.cpus-per-trial", "1"),
    *("--training.precision", "float32"),  # auto is measured: two experiments could differ
]


def small_search(data_dir: Path, work: Path, experiment: str = "small", **changes: Any) -> SearchConfig:
    """The configuration that FLAGS stand for, with fewer candidates."""
    config = SearchConfig(
        data=DataConfig(data_dir=data_dir, corpora=("ravdess", "tess")),
        experiment=experiment,
        experiments_dir=work / "experiments",
        cache_dir=work / "cache",
        model=ModelConfig(channels=(4, 8), hidden=(32, 16)),
        training=TrainingConfig(epochs=3, precision="float32"),
        splits=SplitConfig(folds=3),
        space=SpaceConfig(lr=(0.001, 0.003)),
        compute=ComputeConfig(cpus_per_trial=1),
    )
    return replace(config, **changes)


def run_search(config: SearchConfig) -> tuple[ExperimentFolder, str]:
    """Search in this process, on the Ray that is connected; return the folder and what was said on the way."""
    said = io.StringIO()
    search(config, Console(file=said, width=200))
    return ExperimentFolder(config.experiments_dir / config.experiment), said.getvalue()


def command(work: Path, *flags: str) -> list[str]:
    """The command line of a search with its folders under `work`."""
    places = ["--experiments-dir", str(work / "experiments"), "--cache-dir", str(work / "cache")]
    return [sys.executable, "-m", "ser_tune.search", *places, *flags]


def run_command(work: Path, *flags: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a search as a user would and wait for it."""
    return subprocess.run(command(work, *flags), capture_output=True, text=True, timeout=240, check=False, env=env)


def facts_of(folder: ExperimentFolder) -> dict[str, Any]:
    """Everything an experiment found that must not depend on when, where and how often it was interrupted."""
    trials = {}
    for line in folder.trials.read_text().splitlines():
        values = json.loads(line)
        key = values["candidate"], values["fold"], values["repeat"]
        assert key not in trials, f"{key} was run twice"
        trials[key] = {name: value for name, value in values.items() if name not in ("seconds", "node")}
    return {
        "trials": trials,
        "candidates": folder.candidates.read_text(),
        "selection": json.loads(folder.selection.read_text()),
        "test": json.loads(folder.test.read_text()),
        "weights": (folder.bundle / "model.safetensors").read_bytes(),
    }


def trial_processes(top: int | None = None) -> list[int]:
    """The processes below the given one, or this, in which Tune runs trials."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
    below, before = {top or os.getpid()}, 0
    while len(below) > before:
        before = len(below)
        below |= {pid for pid, parent in parents.items() if parent in below}
    return [pid for pid in below if names[pid].startswith(b"ray::Implicit")]


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file below `root`."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
