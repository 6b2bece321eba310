"""Many recordings: time per clip and memory of extraction, memory of a search; and trials that share their data.

    python benchmarks/scale.py --data-dir DIR --work DIR --clips 100000

The recordings below DIR are linked under as many other names as it takes: they are read from memory, not from a disk.
Memory of the driver and of all processes is sampled every second (PSS). The search keeps the copies that the links
are, and its network hardly trains. Then ten processes on one node take the training data of 20,000 clips from Ray, as
trials do.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ray
from processes import link_clips, pss_mib, recordings_folder, start

from ser_tune.cluster import connect
from ser_tune.config import EMOTIONS, ComputeConfig, FeatureConfig
from ser_tune.dataset import LabelledClips


def n_extracted(cache_dir: Path) -> int:
    """Clips in the shards that are listed."""
    for manifest in cache_dir.glob("*/manifest.json"):
        return sum(shard["n_rows"] for shard in json.loads(manifest.read_text())["shards"])
    return 0


def main() -> None:
    """Extract, watch, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=recordings_folder, metavar="DIR", required=True, help="recordings")
    parser.add_argument("--clips", type=int, default=100_000, metavar="N")
    parser.add_argument("--work", type=Path, metavar="DIR", required=True, help="where links and cache lie meanwhile")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.work.absolute()) as folder:
        recordings, cache_dir = Path(folder) / "recordings", Path(folder) / "cache"
        link_clips(args.data_dir, recordings, args.clips)
        extract(recordings, cache_dir, args.clips)
        search(recordings, cache_dir, Path(folder))
    share()


def extract(recordings: Path, cache_dir: Path, n_clips: int) -> None:
    """Run the command and print how long each quarter of the clips took, and the peaks."""
    reached = [time.monotonic()]

    def look() -> None:
        done = n_extracted(cache_dir)
        while done >= len(reached) * n_clips / 4 and len(reached) < 5:
            print_quarter(reached, n_clips)

    print("| clips | since the clips before | per clip |\n|---|---|---|", flush=True)
    held = run(["-m", "ser_tune.extract", "--data-dir", str(recordings), "--cache-dir", str(cache_dir)], look)
    print(f"\nExtraction: {held}; {time.monotonic() - reached[0]:.0f} s in all.")


def search(recordings: Path, cache_dir: Path, folder: Path) -> None:
    """Search, refit and test over all the clips, and print the peaks."""
    places = ["--data-dir", str(recordings), "--cache-dir", str(cache_dir), "--experiments-dir", str(folder)]
    tiny = ["--model.channels", "1", "1", "--model.hidden", "1", "1", "--training.epochs", "1", "--space.lr", "0.001"]
    flags = ["--experiment", "scale", "--keep-everything", "--compute.cpus-per-trial", "1"]
    print(f"\nA search over them: {run(['-m', 'ser_tune.search', *places, *flags, *tiny])}.")


def run(command: list[str], look: Callable[[], None] = lambda: None) -> str:
    """Run python with these arguments, look twice a second, and return what was held at most, in words."""
    peaks: list[float] = []
    driver_mib, process = 0.0, start(command, peaks)
    while process.poll() is None:
        time.sleep(0.5)
        driver_mib = max(driver_mib, pss_mib(process.pid, descendants=False))
        look()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit status {process.returncode}")
    return f"the driver held {driver_mib:.0f} MiB at most, all processes together {max(peaks):.0f} MiB"


def print_quarter(reached: list[float], n_clips: int) -> None:
    """The next quarter is done."""
    took_s, number = time.monotonic() - reached[-1], len(reached)
    reached.append(time.monotonic())
    start_up = " (with the start of Ray)" if number == 1 else ""
    print(f"| {number * n_clips // 4} | {took_s:.0f} s{start_up} | {4e3 * took_s / n_clips:.2f} ms |", flush=True)


class Holder:
    """A process that holds data as a trial does."""

    def take(self, references: list[ray.ObjectRef]) -> None:
        """Hold the data and touch all of it."""
        self.clips: LabelledClips = ray.get(references[0])
        self.clips.features.sum()

    def shared_mib(self) -> float:
        """Its part of the shared memory that it has touched."""
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Shmem:")) / 1024


def share(n_clips: int = 20_000, n_processes: int = 10) -> None:
    """Print what the processes hold of the data."""
    features = np.zeros((n_clips, *FeatureConfig().shape), np.float32)
    everything = np.arange(n_clips)
    with connect(ComputeConfig()):
        reference = ray.put(LabelledClips(features, everything, everything, everything, EMOTIONS))
        holders = [ray.remote(num_cpus=0)(Holder).remote() for _ in range(n_processes)]
        ray.get([holder.take.remote([reference]) for holder in holders])
        held_mib = sum(ray.get([holder.shared_mib.remote() for holder in holders]))
    data_mib = features.nbytes / 2**20
    print(f"\n{n_clips} clips are {data_mib:.0f} MiB; {n_processes} processes that hold them all: {held_mib:.0f} MiB.")


if __name__ == "__main__":
    main()
