"""Run the benchmarks and put their tables into README.md beside this file, with machine and date: make bench.

    python benchmarks/all.py --work DIR [--data-dir DIR] [--only NAME ...]

Without `--data-dir` the sample corpora serve: they tell about speed, not about scores.
"""

import argparse
import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

from ser_tune.sample import make_sample_corpora

HERE = Path(__file__).parent
NAMES = ("training_speed", "extraction", "overhead", "scale", "side_by_side", "precision_scores")
NEEDS_WORK = ("overhead", "side_by_side", "precision_scores")


def machine() -> str:
    """The processor, its cores, and today."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = found.group(1) if found else "unknown processor"
    return f"({name}, {os.cpu_count()} cores, {dt.datetime.now(tz=dt.UTC).date()})"


def write_table(name: str, printed: str) -> None:
    """Replace what stands between the marks of this benchmark in README.md."""
    readme = HERE / "README.md"
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = readme.read_text().partition(begin)
    after = rest.partition(end)[2]
    if not after:
        sys.exit(f"{readme} has no {begin} ... {end}; expected both")
    readme.write_text(f"{before}{begin}\n{printed.strip()}\n\n{machine()}\n{end}{after}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, metavar="DIR", required=True, help="what is kept between runs")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="recordings (default: the sample corpora)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    data_dir: Path = args.data_dir or args.work / "sample-corpora"
    if not args.data_dir:
        make_sample_corpora(data_dir)
    for name in args.only:
        command = [sys.executable, str(HERE / f"{name}.py")]
        if name != "training_speed":
            command += ["--data-dir", str(data_dir.absolute())]
        if name in NEEDS_WORK:
            command += ["--work", str((args.work / name).absolute())]
        print(f"== {name}", file=sys.stderr, flush=True)
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
        print(printed, flush=True)
        write_table(name, printed)


if __name__ == "__main__":
    main()
