"""A clock that jumps, forth and back, while searches run: for their processes alone, by a small preloaded library.

The machine's own clock stays. The library is built with cc; where there is none the row says that it was left out.
"""

import random
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

from bench import Bench, Row
from watch import Watch

SOURCE = Path(__file__).with_name("clock.c")
HOUR_S = 3600.0
JUMPS_S = (HOUR_S, -HOUR_S, 24 * HOUR_S, -24 * HOUR_S, 400 * 24 * HOUR_S, 0.0)
ROUND = ("start", "extraction", "search", "search", "search", "refit", "export")


def jump(bench: Bench) -> list[Row]:
    """One search whose clock jumps in all its stages, Ray's processes included."""
    row, rng = Row("Clock jumps by 1 h, 1 day and 400 days, forth and back"), bench.rng()
    library, shift = bench.root / "clock.so", bench.root / "clock-shift"
    if not shutil.which("cc"):
        row.happened["left out: no C compiler"] += 1
        return [row]
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    shift.write_bytes(struct.pack("d", 0.0))
    environment = {"LD_PRELOAD": str(library), "SER_TUNE_CLOCK": str(shift)}
    place = replace(bench.place("clock"), environment=environment)
    with Watch(place.root) as watch:
        search = place.start()
        for stage in ROUND:
            row.hit(search.strike(stage, bench.spans["grid"][stage], rng, lambda _search: _set(shift, rng)))
        search.process.wait()
    bench.check(row, search, watch)
    return [row]


def _set(shift: Path, rng: random.Random) -> None:
    with shift.open("r+b") as file:  # in place: the processes have it mapped
        [now] = struct.unpack("d", file.read())
        file.seek(0)
        file.write(struct.pack("d", rng.choice([jump_s for jump_s in JUMPS_S if jump_s != now])))
