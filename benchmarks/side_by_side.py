"""ser_tune beside what people use instead: the same clips, folds, epochs and seeds, whole processes, in turn.

    python benchmarks/side_by_side.py --data-dir DIR --work DIR

Every tool searches the same grid, learning rates x dropouts, on features that are there already: ser_tune in its cache,
the others in one file. Time runs from the start of the process to the choice; memory is the largest sum over a tool's
processes, shared pages counted once (PSS, sampled every second). Measurements in `--work` are not taken again.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from against_cross_validate import read_features
from contenders import CONTENDERS
from processes import commit, keep, recordings_folder, start

from ser_tune.candidates import trial_seed

OURS = {"ser_tune, race off": "off", "ser_tune, race on": "paired"}
LRS = ("0.01", "0.005", "0.002", "0.001", "0.0005", "0.0002", "0.0001", "0.00005")
DROPOUTS = ("0.2",)
N_FOLDS = 4


@dataclass(frozen=True)
class Measured:
    """One run of a tool."""

    wall_s: float
    peak_mib: float
    trials: int
    choice: dict[str, Any]


def flags_of(data_dir: str, epochs: int) -> list[str]:
    """What ser_tune is told of the task."""
    space = ["--space.lr", *LRS, "--space.dropout", *DROPOUTS, "--training.epochs", str(epochs)]
    return ["--data-dir", data_dir, *space, "--splits.folds", str(N_FOLDS), "--compute.cpus-per-trial", "1"]


def run_ours(work: Path, name: str, flags: list[str]) -> Measured:
    """One search up to its choice; refit, test and report, which the others do not do, are cut off."""
    shutil.rmtree(work / name, ignore_errors=True)
    peaks: list[float] = []
    places = ["--experiments-dir", str(work), "--experiment", name, "--cache-dir", str(work / "cache")]
    started = time.monotonic()
    process = start(["-m", "ser_tune.search", *places, *flags], peaks)
    while not (work / name / "selection.json").exists():
        if process.poll() is not None:
            sys.exit(f"the search failed with exit status {process.returncode}")
        time.sleep(0.05)
    wall_s = time.monotonic() - started
    process.terminate()
    process.communicate()
    choice = json.loads((work / name / "selection.json").read_text())
    trials = (work / name / "trials.jsonl").read_text().splitlines()
    return Measured(wall_s, max(peaks), len(trials), choice["hyperparameters"] | {"epochs": choice["epochs"]})


def run_other(work: Path, name: str, epochs: int) -> Measured:
    """One run of a contender."""
    peaks: list[float] = []
    started = time.monotonic()
    grid = ["--epochs", str(epochs), "--lr", *LRS, "--dropout", *DROPOUTS]
    process = start([str(Path(__file__).with_name("contenders.py")), name, str(work / "data.npz"), *grid], peaks)
    printed, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{name} failed with exit status {process.returncode}")
    choice = json.loads(printed.splitlines()[-1])
    return Measured(time.monotonic() - started, max(peaks), N_FOLDS * len(LRS) * len(DROPOUTS), choice)


def prepare(work: Path, data_dir: str) -> None:
    """Fill the cache and write the contenders' file, by a search of one candidate that hardly trains."""
    tiny = ["--model.channels", "1", "1", "--model.hidden", "1", "1", "--training.epochs", "1", "--space.lr", "0.001"]
    run_ours(work, "prepared", ["--data-dir", data_dir, "--splits.folds", str(N_FOLDS), *tiny])
    config = json.loads((work / "prepared" / "config.json").read_text())["config"]
    clips = pd.read_parquet(work / "prepared" / "manifest.parquet").query("split == 'train'")
    np.savez(
        work / "data.npz",
        features=read_features(work / "cache", clips["sha256"].tolist())[:, None],
        labels=np.array([config["data"]["emotions"].index(emotion) for emotion in clips["emotion"]]),
        fold=clips["fold"].to_numpy(dtype=np.int64),
        seeds=np.array([trial_seed(config["seed"], fold) for fold in range(N_FOLDS)]),
    )


def measure(work: Path, name: str, number: int, data_dir: str, epochs: int) -> Measured:
    """A measurement, or the one that was taken before."""
    kept = work / f"{name.replace(' ', '-')}-{number}.json"
    if not kept.exists():
        experiment = f"ours-{OURS.get(name, '')}-{number}"
        flags = [*flags_of(data_dir, epochs), "--search.race", OURS.get(name, "off")]
        found = run_ours(work, experiment, flags) if name in OURS else run_other(work, name, epochs)
        kept.write_text(json.dumps(asdict(found)))
    return Measured(**json.loads(kept.read_text()))


def print_table(found: dict[str, list[Measured]]) -> None:
    """Medians, each beside the best of the others."""
    walls = {name: statistics.median(run.wall_s for run in runs) for name, runs in found.items()}
    best = min(wall for name, wall in walls.items() if name in CONTENDERS)
    print(
        f"| tool | to the choice, median of {len(next(iter(found.values())))} | beside the best other | memory "
        "| trials | choice |\n|---|---|---|---|---|---|"
    )
    for name, runs in found.items():
        memory = statistics.median(run.peak_mib for run in runs)
        chosen = {
            f"lr {run.choice['lr']:g}, dropout {run.choice['dropout']:g}, {run.choice['epochs']} epochs" for run in runs
        }
        trials = "-".join(str(n) for n in sorted({min(run.trials for run in runs), max(run.trials for run in runs)}))
        cells = [
            f"{walls[name]:.0f} s",
            f"{walls[name] / best:.2f}",
            f"{memory:.0f} MiB",
            trials,
            "; ".join(sorted(chosen)),
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Measure what is missing, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=recordings_folder, metavar="DIR", required=True, help="recordings")
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="where measurements are kept")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--epochs", type=int, default=4, metavar="N")
    args = parser.parse_args()
    work, data_dir = args.work.absolute(), str(args.data_dir)
    keep(work, {"data": data_dir, "epochs": str(args.epochs), "commit": commit()})
    if not (work / "data.npz").exists():
        prepare(work, data_dir)
    found: dict[str, list[Measured]] = {}
    for number in range(args.rounds):
        for name in [*CONTENDERS, *OURS]:
            run = measure(work, name, number, data_dir, args.epochs)
            print(f"{name}: {run.wall_s:.0f} s, {run.trials} trials, {run.choice}", file=sys.stderr, flush=True)
            found.setdefault(name, []).append(run)
    print_table(found)


if __name__ == "__main__":
    main()
