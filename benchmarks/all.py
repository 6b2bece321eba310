"""Run the benchmarks and put their tables into README.md beside this file, with machine and date: make bench.

    python benchmarks/all.py --work DIR [--data-dir DIR] [--only NAME ...]

Without `--data-dir` the sample corpora serve: they tell about speed, not about scores. What --work holds of a benchmark
that was interrupted is not measured again.
"""

import argparse
import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

from processes import commit, recordings_folder

from ser_tune.sample import make_sample_corpora

HERE = Path(__file__).parent
NAMES = ("training_speed", "extraction", "overhead", "scale", "side_by_side", "precision_scores")


def machine(data: str) -> str:
    """The processor, its cores, what was measured, and today."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = found.group(1) if found else "unknown processor"
    return f"({name}, {os.cpu_count()} cores, {data}, commit {commit()}, {dt.datetime.now(tz=dt.UTC).date()})"


def write_table(name: str, printed: str, data: str) -> None:
    """Replace what stands between the marks of this benchmark in README.md."""
    readme = HERE / "README.md"
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = readme.read_text().partition(begin)
    after = rest.partition(end)[2]
    if not after:
        sys.exit(f"{readme} has no {begin} ... {end}; expected both")
    readme.write_text(f"{before}{begin}\n{printed.strip()}\n\n{machine(data)}\n{end}{after}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, metavar="DIR", required=True, help="what is kept between runs")
    parser.add_argument(
        "--data-dir", type=recordings_folder, metavar="DIR", help="recordings (default: the sample corpora)"
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    work: Path = args.work.absolute()
    data_dir: Path = args.data_dir or work / "sample-corpora"
    if not args.data_dir:
        make_sample_corpora(data_dir)
    n_recordings = sum(1 for _ in data_dir.rglob("*.wav"))
    data = f"{n_recordings} recordings" if args.data_dir else f"{n_recordings} recordings of the sample corpora"
    for name in args.only:
        command = [sys.executable, str(HERE / f"{name}.py")]
        if name != "training_speed":
            command += ["--data-dir", str(data_dir), "--work", str(work / name)]
        print(f"== {name}", file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
        if done.returncode:
            sys.exit(f"{name} failed with exit status {done.returncode}: {' '.join(command)}")
        print(done.stdout, flush=True)
        write_table(name, done.stdout, "made-up features" if name == "training_speed" else data)


if __name__ == "__main__":
    main()
