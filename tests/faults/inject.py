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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bench import Bench, Row
from clock import jump
from damage import damage_files, damage_shards, tear_lines
from disk import fill_disk, read_only_cache
from kills import RAY, kill_drivers, kill_ray, kill_workers, send_ctrl_c, send_sigterm
from nodes import kill_nodes
from recordings import change_recordings
from table import as_json, from_json, merge, table, write
from together import search_on_one_cache, search_on_one_experiment

Part = Callable[[Bench], list[Row]]
# What each fault consists of: parts whose rows are kept, so that a script that is interrupted goes on after them.
FAULTS: Mapping[str, Sequence[Part]] = {
    "drivers": [partial(kill_drivers, "grid")] * 3 + [partial(kill_drivers, "race")],
    "workers": [partial(kill_workers, "grid")] * 3 + [partial(kill_workers, "race")],
    "nodes": [kill_nodes] * 2,
    "ray": [partial(kill_ray, word) for word in RAY],
    "signals": [send_sigterm, send_ctrl_c],
    "disk": [fill_disk],
    "read-only": [read_only_cache],
    "shards": [damage_shards],
    "files": [damage_files],
    "lines": [tear_lines],
    "together": [search_on_one_experiment, search_on_one_cache],
    "clock": [jump],
    "recordings": [change_recordings],
}
ALONE = ("recordings",)  # these change what all searches read


def main() -> int:
    arguments = _parse()
    root = (arguments.folder or Path(tempfile.mkdtemp(prefix="ser_tune-faults-"))).absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"--folder {root} cannot be made: {error.strerror}")
    seed = root / "seed"
    if seed.exists() and seed.read_text() != str(arguments.seed):
        sys.exit(f"--folder {root} holds faults of --seed {seed.read_text()}; name another folder")
    seed.write_text(str(arguments.seed))
    print("two undisturbed searches first, to compare with", file=sys.stderr, flush=True)
    bench = Bench(root, arguments.seed)
    bench.prepare()
    parts = [(name, number) for name in arguments.only or FAULTS for number in range(len(FAULTS[name]))]
    alone = [part for part in parts if part[0] in ALONE]
    beside = [part for part in parts if part[0] not in ALONE]
    inject = partial(_inject, bench, time.time())
    # Each in a process of its own: Ray's cluster is one for a whole process.
    with ProcessPoolExecutor(arguments.at_once, get_context("spawn"), max_tasks_per_child=1) as pool:
        found = [*pool.map(inject, beside), *map(inject, alone)]
    rows = merge([row for rows in found for row in rows])
    print(table(rows))
    if arguments.write:
        write(rows, arguments.seed)
    problems = [problem for row in rows for problem in row.problems]
    for problem in problems:
        print(f"does not hold: {problem}", file=sys.stderr)
    if not problems and not arguments.folder:
        shutil.rmtree(root)
    return 1 if problems else 0


def _inject(bench: Bench, began: float, part: tuple[str, int]) -> list[Row]:
    """The rows of one part of a fault; from the folder, where it was injected before."""
    fault, number = part
    bench = replace(bench, part=f"{fault}-{number}")
    kept = bench.root / f"rows-{bench.part}.json"
    if not kept.exists():
        shutil.rmtree(bench.root / bench.part, ignore_errors=True)
        try:
            rows = FAULTS[fault][number](bench)
        except Exception as error:  # noqa: BLE001 # the other faults are worth their minutes all the same
            traceback.print_exc()
            return [Row(bench.part, problems=[f"{bench.part} broke off: {type(error).__name__}: {error}"])]
        kept.write_text(json.dumps([as_json(row) for row in rows]))
    print(f"{(time.time() - began) / 60:5.1f} min  {bench.part}", file=sys.stderr, flush=True)
    return [from_json(values) for values in json.loads(kept.read_text())]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FAULTS, help="these faults (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and places")
    parser.add_argument("--at-once", type=int, default=3, help="parts that run beside each other (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where the searches run (default: a temporary folder)")
    parser.add_argument("--write", action="store_true", help="put the table into tests/faults/README.md")
    arguments = parser.parse_args()
    if arguments.at_once < 1:
        parser.error("--at-once: 1 or more")
    if arguments.write and arguments.only:
        parser.error("--write puts the whole table into the README: not with --only")
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
