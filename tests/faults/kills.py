"""SIGKILL of the driver, again and again at random moments, until nothing is left to be killed."""

from collections.abc import Sequence

from bench import Bench, Row
from searches import GRID, RACE
from watch import Watch

ROUND = ("extraction", "extraction", "search", "search", "search", "refit", "refit", "export", "export", "export")


def kill_drivers(bench: Bench, n_grids: int, n_races: int) -> list[Row]:
    rows = []
    for kind, flags, n_rounds in (("grid", GRID, n_grids), ("race", RACE, n_races)):
        row = Row(f"SIGKILL of the driver, {kind}")
        for number in range(n_rounds):
            _round(bench, row, f"driver-{kind}-{number}", kind, flags)
        rows.append(row)
    return rows


def _round(bench: Bench, row: Row, name: str, kind: str, flags: Sequence[str]) -> None:
    """One search, killed in every stage in turn and started again at once, then left in peace."""
    place, rng = bench.place(name, flags), bench.rng(name)
    killed = []
    with Watch(place.root) as watch:
        for stage in ROUND:
            search = place.start()
            row.hit(search.strike(stage, bench.spans[kind][stage], rng, lambda one: one.kill()))
            killed.append(search)
        last = place.start()
        last.process.wait()
    bench.check(row, last, watch, kind=kind)
    for search in killed:
        bench.bury(row, search)
