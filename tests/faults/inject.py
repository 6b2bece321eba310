"""Inject faults into real searches and print a table of what came of it; exit status 1 if a claim does not hold.

python tests/faults/inject.py [--only WORD ...] [--seed N] [--folder DIR] [--write]
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import Bench, Row
from kills import kill_drivers, kill_ray, kill_workers, send_signals

FAULTS: dict[str, Callable[[Bench], list[Row]]] = {
    "drivers": lambda bench: kill_drivers(bench, n_grids=3, n_races=1),
    "workers": lambda bench: kill_workers(bench, n_grids=2, n_races=1, most=10),
    "ray": lambda bench: kill_ray(bench, n_rounds=2),
    "signals": send_signals,
}
HEAD = """\
| fault | injected | in stage | what happened | finished trials run again | lost | claims broken |
|---|---|---|---|---|---|---|"""


def main() -> int:
    arguments = _parse()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ser_tune-faults-"))
    bench = Bench(folder.absolute(), arguments.seed)
    began = time.monotonic()
    bench.prepare()
    print(f"undisturbed, by stage [s]: {bench.spans}", file=sys.stderr)
    rows = []
    for name in arguments.only or FAULTS:
        rows += FAULTS[name](bench)
        _tell(rows, began)
    problems = [problem for row in rows for problem in row.problems]
    for problem in problems:
        print(f"BROKEN: {problem}", file=sys.stderr)
    print("\n".join([HEAD, *(row.markdown for row in rows)]))
    if not problems and not arguments.folder:
        shutil.rmtree(folder)
    return 1 if problems else 0


def _tell(rows: list[Row], began: float) -> None:
    print(
        f"{datetime.now(UTC):%H:%M:%S} {rows[-1].fault}: {rows[-1].n}; {time.monotonic() - began:.0f} s so far",
        file=sys.stderr,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FAULTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
