"""Two searches at once: on one experiment, where the second is refused, and on one cache, which they fill together."""

import time
from dataclasses import replace

from bench import Bench, Row
from searches import Search
from watch import Watch

BUSY = "another search is running in"


def search_on_one_experiment(bench: Bench) -> list[Row]:
    """The second is refused in every stage of the first, which notices nothing."""
    row, rng, place = Row("Two searches on one experiment"), bench.rng(), bench.place("one-experiment")
    second: list[Search] = []

    def start_another(_search: Search) -> None:
        second.append(place.start())
        second[-1].end()

    with Watch(place.root) as watch:
        first = place.start()
        for stage in ("extraction", "search", "refit", "export"):
            row.hit(first.strike(stage, 0.3, rng, start_another))
        first.end()
    for search in second:
        late = search.end() == 0  # the first ended before the second asked for the folder
        refused = search.end() == 2 and BUSY in search.said and search.said.count("\n") == 1
        row.expect(late or refused, f"exit status {search.end()}, expected `{BUSY}`", search)
        row.happened[
            "found it finished" if late else f"exit 2, `{BUSY} ...; wait for it or choose another --experiment`"
        ] += 1
    bench.check(row, first, watch)
    return [row]


def search_on_one_cache(bench: Bench) -> list[Row]:
    """Both extract into it at the same time, one is killed there and goes on; both find the same."""
    row, rng = Row("Two searches on one cache"), bench.rng()
    places = [bench.place("one-cache-a"), bench.place("one-cache-b")]
    shared = ["--cache-dir", str(bench.place("one-cache").root / "feature_cache")]
    places = [replace(place, flags=[*place.flags, *shared]) for place in places]
    with Watch(bench.place("one-cache").root) as watch:
        searches = [place.start() for place in places]
        row.hit(searches[0].strike("extraction", bench.spans["grid"]["extraction"], rng, lambda _search: None))
        row.hit(searches[1].strike("extraction", bench.spans["grid"]["extraction"], rng, lambda search: search.kill()))
        time.sleep(rng.uniform(0, 2))
        searches[1] = places[1].start()
        for search in searches:
            search.end()
    for search in searches:
        bench.check(row, search, watch)
    return [row]
