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
RAY = (b"/raylet/raylet", b"/gcs/gcs_server", b"DashboardAgent", b"RuntimeEnvAgent")
NEEDED = RAY[:2]
GOES_ON = "run the same command again to go on."
Blow = Callable[[Search], bool | None]


def kill_drivers(kind: str, bench: Bench) -> list[Row]:
    """A search is killed in every stage in turn, started again at once, and left in peace at last."""
    row = Row(f"SIGKILL of the driver, {kind}")
    _round(bench, row, ROUND, lambda search: search.kill(), kind=kind)
    return [row]


def kill_workers(kind: str, bench: Bench) -> list[Row]:
    """Within one search processes that extract, train or refit are killed; it goes on by itself."""
    row, place, rng = Row(f"SIGKILL of a worker, {kind}"), bench.place("search", KINDS[kind]), bench.rng()
    with Watch(place.root) as watch:
        search = place.start()
        for stage in ("extraction", *["search"] * 7, "refit", "refit"):
            row.hit(search.strike(stage, bench.pause_s(kind), rng, _kill_worker))
        search.end()
    bench.check(row, search, watch, kind=kind)
    bench.bury(row, search)
    return [row]


def kill_ray(word: bytes, bench: Bench) -> list[Row]:
    """A raylet, or another process of Ray's own, is killed: the search says what was lost, and ends or goes on."""
    row = Row(f"SIGKILL of Ray's {word.decode().rpartition('/')[2]}")
    stages = ("extraction", "search", "search", "refit") if word in NEEDED else ("search", "search", "refit")
    _round(bench, row, stages, partial(_kill_one, word), partial(expect_one_line, "error: ", 1))
    return [row]


def send_sigterm(bench: Bench) -> list[Row]:
    """To the driver alone, as kill does."""
    return _signal(bench, Row("SIGTERM to the driver"), signal.SIGTERM, os.kill)


def send_ctrl_c(bench: Bench) -> list[Row]:
    """SIGINT to all processes of the group, as a terminal does."""
    return _signal(bench, Row("Ctrl-C (SIGINT to all processes)"), signal.SIGINT, os.killpg)


def _signal(bench: Bench, row: Row, number: signal.Signals, send: Callable[[int, int], None]) -> list[Row]:
    stages = ("extraction", "search", "refit", "export")
    judge = partial(expect_one_line, f"{number.name} received.", 128 + number)
    _round(bench, row, stages, partial(_send, number, send), judge)
    return [row]


def _round(
    bench: Bench,
    row: Row,
    stages: Sequence[str],
    blow: Blow,
    judge: Callable[[Row, Search], None] | None = None,
    kind: str = "grid",
) -> None:
    """One search, struck in these stages in turn and started again at once, at last left in peace and compared."""
    place, rng, struck = bench.place("search", KINDS[kind]), bench.rng(), []
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


def expect_one_line(begin: str, expected: int, row: Row, search: Search) -> None:
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
