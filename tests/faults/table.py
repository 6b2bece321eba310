"""Rows -> the Markdown table of tests/faults/README.md, with machine, date and command."""

import os
import platform
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import Row
from searches import STAGES

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
HEAD = """\
| fault | injected | where it fell | what came of it | trials run again | trials lost | claims broken |
|---|---|---|---|---|---|---|"""


def table(rows: list[Row]) -> str:
    """The table, and a sentence that counts the kills."""
    kills: Counter[str] = Counter()
    for row in rows:
        if "SIGKILL" in row.fault or "killed" in row.fault:
            kills += row.moments
    in_stages = ", ".join(f"{kills[stage]} in {stage}" for stage in STAGES if kills[stage])
    told = f"{kills.total()} kills in all: {in_stages}." if kills else ""
    return "\n".join([HEAD, *map(_line, rows), "", told])


def merge(rows: list[Row]) -> list[Row]:
    """One row for each fault, where several parts injected it."""
    merged: dict[str, Row] = {}
    for row in rows:
        one = merged.setdefault(row.fault, Row(row.fault))
        one.moments += row.moments
        one.happened += row.happened
        one.n_trials_again += row.n_trials_again
        one.problems += row.problems
    return list(merged.values())


def write(rows: list[Row], seed: int) -> None:
    """Put the table into the README, in the place of the one before."""
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    about = f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}, `python tests/faults/inject.py --seed {seed}`."
    README.write_text(f"{before}{BEGIN}{about}\n\n{table(rows)}\n{END}{after}")


def as_json(row: Row) -> dict[str, Any]:
    return {**vars(row), "moments": dict(row.moments), "happened": dict(row.happened)}


def from_json(values: dict[str, Any]) -> Row:
    counters = {name: Counter(values[name]) for name in ("moments", "happened")}
    return Row(**{**values, **counters})


def _line(row: Row) -> str:
    named = [stage for stage in STAGES if row.moments[stage]]
    named += [name for name in row.moments if name not in STAGES]
    where = ", ".join(f"{name} {row.moments[name]}" for name in named)
    came = "; ".join(f"{what} ({n})" for what, n in row.happened.items())
    lost = sum("lost" in problem for problem in row.problems)
    broken = f"**{len(row.problems)}**" if row.problems else "none"
    cells = [row.fault, row.moments.total(), where, came, row.n_trials_again, lost, broken]
    return f"| {' | '.join(map(str, cells))} |"


def _machine() -> str:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = model[0].partition(": ")[2] if model else platform.machine()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count()} cores of {name}, {memory_gb:.0f} GB, {platform.system()}"
