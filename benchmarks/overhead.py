"""What a search costs beside its training: in all, and for a trial that does nothing.

    python benchmarks/overhead.py --data-dir DIR --work DIR

The first figure: the default search, 4 learning rates x 4 folds x 30 epochs, with the features cached, from the start
of the command to the chosen candidate, beside the time of the trials alone divided by the slots. The second: what 8
times as many trials of a tiny network and one epoch cost more, per trial, their own time taken off. The searches stay
in `--work`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from processes import recordings_folder

TINY = [*("--model.channels", "1", "1", "--model.hidden", "1", "1"), *("--training.epochs", "1")]


@dataclass(frozen=True)
class Timed:
    """One search: from its start to its choice [s], and its trials' own times [s]."""

    wall_s: float
    trials_s: list[float]


def search(work: Path, name: str, flags: list[str]) -> Timed:
    """Run a new search, timed until it has chosen."""
    shutil.rmtree(work / name, ignore_errors=True)
    places = ["--experiments-dir", str(work), "--experiment", name, "--cache-dir", str(work / "cache")]
    command = [sys.executable, "-m", "ser_tune.search", *places, *flags]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=sys.stderr)  # noqa: S603 # our own program
    while not (work / name / "selection.json").exists():
        if process.poll() is not None:
            sys.exit(f"the search failed with exit status {process.returncode}")
        time.sleep(0.02)
    wall_s = time.monotonic() - started
    process.wait()
    lines = (work / name / "trials.jsonl").read_text().splitlines()
    return Timed(wall_s, [json.loads(line)["seconds"] for line in lines])


def grid(n: int) -> list[str]:
    """So many learning rates, as a flag."""
    return ["--space.lr", *(f"{0.0005 + 0.00001 * number:g}" for number in range(n))]


def main() -> None:
    """Run the searches and print both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=recordings_folder, metavar="DIR", required=True, help="recordings")
    parser.add_argument("--work", type=Path, metavar="DIR", required=True, help="where the searches are kept")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of short trials (%(default)s)")
    args = parser.parse_args()
    work, flags, n_slots = args.work, ["--data-dir", str(args.data_dir)], os.cpu_count() or 1
    search(work, "cache-filled", [*flags, *TINY, *grid(1)])
    long = search(work, "default", flags)
    costs = []
    for number in range(args.rounds):
        few, many = (search(work, f"tiny-{number}-{n}", [*flags, *TINY, *grid(n)]) for n in (4, 32))
        own_s = (sum(many.trials_s) - sum(few.trials_s)) / n_slots
        more = len(many.trials_s) - len(few.trials_s)
        costs.append((many.wall_s - few.wall_s - own_s) * n_slots / more)
    share_s = sum(long.trials_s) / n_slots
    print(
        "| trials | shortest trial | trials' time / slots | start to choice | beyond 1.10 x | aim |\n"
        "|---|---|---|---|---|---|"
    )
    print(
        f"| {len(long.trials_s)} | {min(long.trials_s):.1f} s | {share_s:.1f} s | {long.wall_s:.1f} s "
        f"| {long.wall_s - 1.1 * share_s:+.1f} s | at most 15 s |\n"
    )
    print(f"An empty trial costs {statistics.median(costs):.3f} s of a slot ({', '.join(f'{c:.3f}' for c in costs)}).")


if __name__ == "__main__":
    main()
