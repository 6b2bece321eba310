"""SIGKILL of the driver, its workers and Ray's own processes, SIGTERM and Ctrl-C, at random moments of all stages."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial

from bench import KINDS, Bench, Row
from searches import BUSY, N_STARTS, Search
from watch import Watch

# The stages in which one search is struck, one blow after the other; it is started again in between.
ROUND = ("extraction", "extraction", "search", "search", "search", "refit", "refit", "export", "export", "export")
RAY = (b"/raylet/raylet", b"/gcs/gcs_server", b"DashboardAgent", b"RuntimeEnvAgent", b"/log_monitor.py")
NEEDED = RAY[:2]
GOES_ON = "run the same command again to go on."
Blow = Callable[[Search], bool | None]


def kill_drivers(bench: Bench, kind: str, n_rounds: int) -> list[Row]:
    """Each search is killed in every stage in turn, started again at once, and left in peace at last."""
    row = Row(f"SIGKILL of the driver, {kind}")
    for number in range(n_rounds):
        _round(bench, row, f"{kind}-{number}", ROUND, lambda search: search.kill(), kind)
    return [row]


def send_signals(bench: Bench) -> list[Row]:
    """SIGTERM to the driver, as kill does, and SIGINT to its whole group, as Ctrl-C does."""
    rows = []
    for number, send in ((signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)):
        row = Row(f"{number.name} to the driver" if send is os.kill else f"{number.name} to all its processes (Ctrl-C)")
        _round(
            bench,
            row,
            f"signal-{number.name}",
            ("extraction", "search", "refit", "export"),
            partial(_send, number, send),
            judge=partial(_expect_one_line, f"{number.name} received.", 128 + number),
        )
        rows.append(row)
    return rows


def kill_ray(bench: Bench, n_rounds: int) -> list[Row]:
    """A raylet, or another process of Ray's own, is killed: the search says what was lost, and ends or goes on."""
    rows = []
    for word in RAY:
        name = word.decode().rpartition("/")[2]
        row = Row(f"SIGKILL of Ray's {name}")
        for number in range(n_rounds if word in NEEDED else 1):
            _round(
                bench,
                row,
                f"ray-{name}-{number}",
                ("extraction", "search", "search", "refit") if word in NEEDED else ("search",),
                partial(_kill_one, word),
                judge=partial(_expect_one_line, "error: ", 1),
            )
        rows.append(row)
    return rows


def kill_workers(bench: Bench, kind: str, n_searches: int, most: int) -> list[Row]:
    """Within one search processes that extract, train or refit are killed, up to `most`; it goes on by itself."""
    row = Row(f"SIGKILL of a worker, {kind}")
    for number in range(n_searches):
        place, rng = bench.place(f"{kind}-{number}", KINDS[kind]), bench.rng(f"worker {kind} {number}")
        with Watch(place.root) as watch:
            search = place.start()
            for stage in ["extraction", *["search"] * (most - 3), "refit", "refit"]:
                row.hit(search.strike(stage, bench.pause_s(kind), rng, _kill_worker))
            search.process.wait()
        bench.check(row, search, watch, kind=kind)
        bench.bury(row, search)
    return [row]


def _round(
    bench: Bench,
    row: Row,
    name: str,
    stages: Sequence[str],
    blow: Blow,
    kind: str = "grid",
    judge: Callable[[Row, Search], None] | None = None,
) -> None:
    """One search, struck in these stages in turn and started again at once, at last left in peace and compared."""
    place, rng, struck = bench.place(name, KINDS[kind]), bench.rng(name), []
    with Watch(place.root) as watch:
        for stage in stages:
            for _ in range(N_STARTS):
                search = place.start()
                struck.append(search)
                hit = search.strike(stage, bench.spans[kind][stage], rng, blow)
                if hit != "over" or BUSY not in search.said:
                    break
            row.hit(hit)
            if hit != "over" and judge:
                judge(row, search)
            search.end()
        last = place.run()
    bench.check(row, last, watch, kind=kind)
    for search in struck:
        bench.bury(row, search)


def _expect_one_line(begin: str, expected: int, row: Row, search: Search) -> None:
    """One line tells what happened and how to go on, unless the search came to its end; nothing in Ray's words."""
    status, said = search.end(), search.said
    lines = [line for line in said.splitlines() if line.startswith(begin)]
    row.expect(status in (expected, 0), f"exit status {status}", search)
    row.expect("Traceback" not in said and "(raylet)" not in said, "a traceback or Ray's own words", search)
    if status != 0:
        told = len(lines) == 1 and lines[0].endswith(GOES_ON)
        row.expect(told, f"exit status {status} without one line that tells how to go on", search)
    row.happened[f"exit {status}, `{lines[0].partition('. ')[0]}`" if lines else "went on to its end"] += 1


def _kill_worker(search: Search) -> bool:
    """Kill one process that works at the search's stage; wait a moment where none does just now."""
    deadline = time.monotonic() + 20
    while search.process.poll() is None and time.monotonic() < deadline:
        if found := search.workers(search.stage):
            return _kill(found[0])
        time.sleep(0.03)
    return False


def _send(number: signal.Signals, send: Callable[[int, int], None], search: Search) -> None:
    send(search.process.pid, number)


def _kill_one(word: bytes, search: Search) -> bool:
    return any(map(_kill, search.find(word)[:1]))


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
