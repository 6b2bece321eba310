"""Extraction beside joblib over librosa, whole processes; and per core beside the same work in one bare process.

    python benchmarks/extraction.py --data-dir DIR --work DIR --clips 2571 12000

The recordings below DIR are linked under other names until there are enough. All take turns, after a round to warm up;
figures are medians of three, ratios those of the medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import link_clips, recordings_folder

from ser_tune.config import FeatureConfig
from ser_tune.rows import extract_rows

N_ALONE = 857


def run(command: list[str]) -> float:
    """How long a whole process of python takes [s]."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with exit status {done.returncode}:\n{done.stderr}")
    return time.monotonic() - started


def alone(recordings: Path) -> None:
    """Print the time per clip of decoding, hashing, resampling and features, in this process alone [ms]."""
    paths = [str(path) for path in sorted(recordings.rglob("*.wav"))[:N_ALONE]]
    extract_rows(paths[:50], FeatureConfig())
    started = time.monotonic()
    extract_rows(paths, FeatureConfig())
    print(1e3 * (time.monotonic() - started) / len(paths))


def measure(recordings: Path, work: Path, n_rounds: int) -> dict[str, float]:
    """The median of each way to extract these recordings [s], and alone per clip [ms]."""
    plain = [str(Path(__file__).with_name("plain_extraction.py")), str(recordings), str(work / "plain.npz")]
    found: dict[str, list[float]] = {}
    for number in range(n_rounds + 1):
        cache = str(work / f"cache-{len(list(work.iterdir()))}")
        ours = ["-m", "ser_tune.extract", "--data-dir", str(recordings), "--cache-dir", cache]
        for name, command in {
            "joblib + librosa": plain,
            "with duration=2": [*plain, "--cut"],
            "ser_tune": ours,
        }.items():
            found.setdefault(name, []).append(run(command))
        command = [sys.executable, __file__, "--alone", str(recordings)]
        # One thread, as each of the workers has: BLAS would take all processors.
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=one_thread).stdout  # noqa: S603
        found.setdefault("alone", []).append(float(printed))
        if number == 0:
            found = {}
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """Measure each number of clips and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=recordings_folder, metavar="DIR", help="recordings")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where links and caches lie meanwhile")
    parser.add_argument("--clips", type=int, nargs=2, default=[2571, 12000], metavar="N", help="few and many")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        alone(args.alone)
        return
    if not (args.data_dir and args.work) or args.rounds < 1:
        parser.error("--data-dir and --work are needed, and 1 round or more")
    args.work.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=args.work.absolute()) as folder:
        for n_clips in args.clips:
            recordings, work = Path(folder) / f"{n_clips}", Path(folder) / f"work-{n_clips}"
            work.mkdir()
            link_clips(args.data_dir, recordings, n_clips)
            found[n_clips] = measure(recordings, work, args.rounds)
    print("| clips | joblib + librosa | the same, decoding 2 s only | ser_tune | ratio | ratio to the second |")
    print("|---|---|---|---|---|---|")
    for n_clips, times in found.items():
        plain, cut, ours, _ = times.values()
        print(f"| {n_clips} | {plain:.1f} s | {cut:.1f} s | {ours:.1f} s | {plain / ours:.2f} | {cut / ours:.2f} |")
    print_per_core(found)


def print_per_core(found: dict[int, dict[str, float]]) -> None:
    """What each clip more costs, start-up aside, beside a bare process."""
    few, many = found
    n_cores = os.cpu_count() or 1
    more = 1e3 * (found[many]["ser_tune"] - found[few]["ser_tune"]) / (many - few) * n_cores
    bare = found[many]["alone"]
    print(
        f"\nA clip more costs {more:.2f} ms of a core; alone in one process {bare:.2f} ms: {bare / more:.0%} per core."
    )


if __name__ == "__main__":
    main()
