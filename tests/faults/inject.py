"""Inject faults into real searches, print a table of what came of it; exit status 1 where a claim does not hold.

A folder that is named with --folder is kept, and what it holds already is not run again.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from bench import Bench, Row
from clock import jump
from damage import damage_files, damage_shards, tear_lines
from disk import fill_disk, read_only_cache
from kills import kill_drivers, kill_ray, kill_workers, send_signals
from nodes import kill_nodes
from recordings import change_recordings
from table import as_json, from_json, table, write
from together import search_together

FAULTS: dict[str, Callable[[Bench], list[Row]]] = {
    "drivers": lambda bench: kill_drivers(bench, "grid", n_rounds=3),
    "race-drivers": lambda bench: kill_drivers(bench, "race", n_rounds=1),
    "workers": lambda bench: kill_workers(bench, "grid", n_searches=3, most=10),
    "race-workers": lambda bench: kill_workers(bench, "race", n_searches=1, most=10),
    "nodes": lambda bench: kill_nodes(bench, n_searches=2),
    "ray": lambda bench: kill_ray(bench, n_rounds=1),
    "signals": send_signals,
    "disk": fill_disk,
    "read-only": read_only_cache,
    "shards": damage_shards,
    "files": damage_files,
    "lines": tear_lines,
    "together": search_together,
    "clock": jump,
    "recordings": change_recordings,
}


def main() -> int:
    arguments = _parse()
    root = (arguments.folder or Path(tempfile.mkdtemp(prefix="ser_tune-faults-"))).absolute()
    root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    bench = Bench(root, arguments.seed)
    bench.prepare()
    rows = []
    for name in arguments.only or FAULTS:
        rows += _inject(bench, name)
        print(f"{(time.monotonic() - began) / 60:5.1f} min  {name}", file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.write:
        write(rows, arguments.seed)
    problems = [problem for row in rows for problem in row.problems]
    for problem in problems:
        print(f"does not hold: {problem}", file=sys.stderr)
    if not problems and not arguments.folder:
        shutil.rmtree(root)
    return 1 if problems else 0


def _inject(bench: Bench, name: str) -> list[Row]:
    """The rows of one fault; from the folder, where it was injected before."""
    kept = bench.root / f"rows-{name}.json"
    if not kept.exists():
        bench.fault = name
        shutil.rmtree(bench.root / name, ignore_errors=True)
        try:
            rows = FAULTS[name](bench)
        except Exception as error:  # noqa: BLE001 # the other faults are worth their minutes all the same
            traceback.print_exc()
            return [Row(name, problems=[f"{name} broke off: {type(error).__name__}: {error}"])]
        kept.write_text(json.dumps([as_json(row) for row in rows]))
    return [from_json(values) for values in json.loads(kept.read_text())]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FAULTS, help="these faults (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and places")
    parser.add_argument("--folder", type=Path, help="where the searches run (default: a temporary folder)")
    parser.add_argument("--write", action="store_true", help="put the table into tests/faults/README.md")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
