"""A clock that jumps, forth and back, while searches run: for their processes alone, by a small preloaded library.

The machine's own clock stays. The library is built with cc; where there is none the row says that it was left out.
"""

import random
import re
import shutil
import struct
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

from bench import Bench, Row
from kills import expect_one_line
from watch import Watch

SOURCE = Path(__file__).with_name("clock.c")
HOUR_S = 3600.0
JUMPS_S = (HOUR_S, -HOUR_S, 24 * HOUR_S, -24 * HOUR_S, 400 * 24 * HOUR_S, 0.0)
ROUND = ("start", "extraction", "search", "search", "search", "refit", "export")


def jump(bench: Bench) -> list[Row]:
    """A search whose clock jumps in all its stages, Ray's processes included; it is started again where it ended."""
    row, rng = Row("Clock jumps by 1 h, 1 day and 400 days, forth and back"), bench.rng()
    library, shift = bench.root / "clock.so", bench.root / "clock-shift"
    if not shutil.which("cc"):
        row.happened["left out: no C compiler"] += 1
        return [row]
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    shift.write_bytes(struct.pack("d", 0.0))
    environment = {"LD_PRELOAD": str(library), "SER_TUNE_CLOCK": str(shift)}
    place = replace(bench.place("clock"), environment=environment)
    struck = [place.start()]
    with Watch(place.root) as watch:
        for stage in ROUND:
            if struck[-1].process.poll() is not None:
                struck.append(place.start())
            before = _read(shift)
            row.hit(struck[-1].strike(stage, bench.spans["grid"][stage], rng, lambda _search: _set(shift, rng)))
            if _read(shift) < before:  # Ray's timers stand still
                expect_one_line("error: ", 1, row, struck[-1])
        last = place.run() if struck[-1].end() else struck[-1]
    bench.check(row, last, watch)
    for search in struck:
        bench.bury(row, search)
    row.happened = Counter(re.sub("back by .*;", "back by ...;", told) for told in row.happened.elements())
    return [row]


def _read(shift: Path) -> float:
    [now] = struct.unpack("d", shift.read_bytes())
    return float(now)


def _set(shift: Path, rng: random.Random) -> None:
    now = _read(shift)
    with shift.open("r+b") as file:  # in place: the processes have it mapped
        file.write(struct.pack("d", rng.choice([jump_s for jump_s in JUMPS_S if jump_s != now])))
