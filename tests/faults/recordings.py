"""Recordings that change or vanish between extraction and search, and while a search runs."""

import os
from pathlib import Path

from bench import Bench, Row
from compare import Facts, differences
from searches import Place

REFUSED = "holds another experiment (its recordings or their labels differ from these)"


class Disturbance:
    """One recording becomes another's beginning, one vanishes; both can be put back as they were."""

    def __init__(self, changed: Path, other: Path, gone: Path):
        self.changed, self._other, self.gone = changed, other, gone
        self._kept = [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in (changed, gone)]

    def make(self, _search: object = None) -> None:
        self.changed.write_bytes(self._other.read_bytes()[:-2000])
        self.gone.unlink()

    def undo(self) -> None:
        for path, content, mtime_ns in self._kept:
            path.write_bytes(content)
            os.utime(path, ns=(mtime_ns, mtime_ns))


def change_recordings(bench: Bench) -> list[Row]:
    """A search knows what changed since the extraction; one that runs already ends with what it has read."""
    row, rng = Row("Recordings change and vanish"), bench.rng()
    names = sorted(path for path in bench.sample.rglob("*.wav") if "RAVDESS" in path.parts)
    disturbance = Disturbance(*rng.sample(names, 3))
    try:
        _between(bench, row, disturbance)
        disturbance.undo()
        place = bench.place("recordings-running")
        search = place.start()
        hit = search.strike("search", bench.spans["grid"]["search"], rng, disturbance.make)
        row.hit(hit)
        if hit == "over":  # too late for this search, in time for the next
            disturbance.make()
        # What the cache holds of these two is what they are by now; the experiment goes by their content.
        bench.check(row, search, without=(str(disturbance.changed), str(disturbance.gone)))
        search = place.start()
        status = search.end()
        row.expect(status == 2 and REFUSED in search.said, f"exit status {status}, expected `{REFUSED}`", search)
        row.happened[f"started again: exit 2, `... {REFUSED}`"] += 1
    finally:
        disturbance.undo()
    bench.finish(row, place)
    return [row]


def _between(bench: Bench, row: Row, disturbance: Disturbance) -> None:
    place, fresh = bench.place("recordings"), bench.place("recordings-fresh")
    hop = place.flags.index("--features.hop-length")
    search = place.start(module="ser_tune.extract", flags=[*place.flags[:2], *place.flags[hop : hop + 2]])
    row.expect(search.end() == 0, "the extraction failed", search)
    disturbance.make()
    row.moments["between extraction and search"] += 1
    found, expected = _finish(bench, row, place), _finish(bench, row, fresh)
    # The cache still holds what it knew of the recording that is gone; nobody asks for it.
    differing = [name for name in differences(expected, found) if not name.endswith(str(disturbance.gone))]
    row.expect(not differing, f"differs from a search without a cache in {', '.join(differing[:5])}", search)
    row.happened["same result as without a cache"] += not differing


def _finish(bench: Bench, row: Row, place: Place) -> Facts:
    search = place.start()
    row.expect(search.end() == 0, "the search failed", search)
    return bench.facts(place)
