"""Does bfloat16 cost validation accuracy? The same searches in float32 and bfloat16, over seeds and both protocols.

    python benchmarks/precision_scores.py --data-dir DIR --work DIR

A seed sets splits, initial weights and batches, alike for both precisions. Searches already in `--work` are not run
again. Flags it does not know go to ser_tune.search.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from processes import recordings_folder

PROTOCOLS, PRECISIONS = ("utterance", "speaker"), ("float32", "bfloat16")


def run_search(work: Path, name: str, flags: list[str]) -> float:
    """The fold mean of the candidate that a search chooses; the program ends where it fails."""
    places = ["--experiments-dir", str(work), "--experiment", name, "--cache-dir", str(work / "cache")]
    command = [sys.executable, "-m", "ser_tune.search", *places, "--compute.cpus-per-trial", "1", *flags]
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode  # noqa: S603 # our own program
    if status:
        sys.exit(status)
    return float(json.loads((work / name / "selection.json").read_text())["mean"])


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=recordings_folder, metavar="DIR", required=True, help="recordings")
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="where the experiments are kept")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    args, others = parser.parse_known_args()
    if args.seeds < 2:
        parser.error("--seeds: one tells nothing of the spread; 2 or more are needed")
    print("| protocol | float32, mean of seeds ± sd | bfloat16 | mean difference ± sd | smaller than the spread |")
    print("|---|---|---|---|---|")
    for protocol in PROTOCOLS:
        found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for seed in range(args.seeds):
            for precision, means in found.items():
                flags = ["--data-dir", str(args.data_dir), "--seed", str(seed), "--splits.protocol", protocol]
                flags += ["--training.precision", precision, "--space.lr", "0.001", *others]
                means.append(100 * run_search(args.work, f"{protocol}-{precision}-{seed}", flags))
        print_row(protocol, found)


def print_row(protocol: str, found: dict[str, list[float]]) -> None:
    """One protocol: both precisions in percent, and how far bfloat16 is from float32, seed by seed."""
    cells = [f"{statistics.mean(means):.1f} ± {statistics.stdev(means):.1f}" for means in found.values()]
    differences = [low - full for full, low in zip(*found.values(), strict=True)]
    difference, spread = statistics.mean(differences), max(map(statistics.stdev, found.values()))
    cells += [f"{difference:+.1f} ± {statistics.stdev(differences):.1f}", "yes" if abs(difference) < spread else "no"]
    print(f"| {protocol} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
