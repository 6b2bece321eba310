"""What all faults share: undisturbed searches to compare with, and the row of the table that each fault fills."""

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from compare import Facts, decisions_of, differences, facts_of
from searches import GRID, RACE, STAGES, Place, Search
from watch import Watch

from ser_tune.sample import make_sample_corpora

Spans = dict[str, float]
KINDS = {"grid": GRID, "race": RACE}


@dataclass
class Row:
    """One line of the table: a fault, how often it was injected in each stage, and what came of it."""

    fault: str
    moments: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    n_trials_again: int = 0
    problems: list[str] = field(default_factory=list)

    def hit(self, stage: str) -> None:
        if stage != "over":
            self.moments[stage] += 1

    def expect(self, holds: bool, what: str, search: Search) -> None:
        """Note a claim that does not hold, with what the search said."""
        if not holds:
            self.problems.append(f"{what}: {search.log}")


@dataclass
class Bench:
    """The folder of all faults, with the undisturbed searches that they are compared with."""

    root: Path
    seed: int
    part: str = ""
    """The part of a fault that is injected now; its searches lie in a folder of this name."""
    expected: dict[str, Facts] = field(default_factory=dict)
    spans: dict[str, Spans] = field(default_factory=dict)

    def place(self, name: str, flags: Sequence[str] = GRID) -> Place:
        return Place(self.root / self.part / name, ["--data-dir", str(self.sample), *flags])

    @property
    def sample(self) -> Path:
        return self.root / "sample"

    def rng(self) -> random.Random:
        """Where the random moments and places of this part come from."""
        return random.Random(f"{self.seed} {self.part}")

    def prepare(self) -> None:
        """Run the searches that nobody disturbs, unless they are there, and take the time of their stages."""
        make_sample_corpora(self.sample)
        times = self.root / "undisturbed.json"
        if not times.exists():
            times.write_text(json.dumps({kind: self._run_undisturbed(kind) for kind in KINDS}))
        self.spans = json.loads(times.read_text())
        self.expected = {kind: self.facts(self.undisturbed(kind)) for kind in KINDS}

    def undisturbed(self, kind: str = "grid") -> Place:
        """The place of the search that nobody disturbed."""
        return replace(self.place("", KINDS[kind]), root=self.root / f"undisturbed-{kind}")

    def _run_undisturbed(self, kind: str) -> Spans:
        """The seconds that each stage took."""
        search, begins = self.undisturbed(kind).start(), {}
        for stage in STAGES:
            search.await_stage(stage)
            begins[stage] = time.monotonic()
        if search.end() != 0:
            raise RuntimeError(f"the undisturbed search failed: {search.log}")
        return {stage: begins[later] - begins[stage] for stage, later in pairwise(STAGES)}

    def pause_s(self, kind: str = "grid") -> float:
        """The most time between two blows within one search, of which it shall take several."""
        return self.spans[kind]["search"] / 6

    def facts(self, place: Place) -> Facts:
        """What a place found; of a race, also its decisions in their order."""
        facts = facts_of(place.folder, place.cache)
        return facts | (decisions_of(place.folder) if "random" in place.flags else {})

    def finish(self, row: Row, place: Place, watch: Watch | None = None, *more: str, kind: str = "grid") -> Search:
        """Run the same command to its end and compare; what the watch saw counts too."""
        search = place.run(*more)
        self.check(row, search, watch, kind=kind)
        return search

    def check(
        self,
        row: Row,
        search: Search,
        watch: Watch | None = None,
        *,
        kind: str = "grid",
        without: tuple[str, ...] = (),
    ) -> None:
        """Whether the search ends with what the undisturbed one found; `without` the features of some recordings."""
        place, status = search.place, search.end()
        row.expect(status == 0, f"exit status {status}", search)
        row.expect("Traceback" not in search.said, "a traceback", search)
        if status == 0:
            found = differences(self.expected[kind], self.facts(place))
            differing = [name for name in found if not (without and name.endswith(without))]
            row.expect(not differing, f"differs from the undisturbed search in {', '.join(differing[:5])}", search)
            row.happened["same result" if not differing else "another result"] += 1
            row.n_trials_again += _count_again(place)
        row.problems += watch.problems if watch else []

    def bury(self, row: Row, search: Search) -> None:
        """Note processes that outlive their search."""
        for pid, line in search.orphans().items():
            row.problems.append(f"process {pid} outlived its search {search.log}: {line.decode()[:60]}")


def _count_again(place: Place) -> int:
    """Finished trials that were run again: a search tells each that it finishes, once, by candidate and fold."""
    told: Counter[str] = Counter()
    for log in sorted(place.root.with_name(f"{place.root.name}-said").iterdir()):
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("[") and ": accuracy " in line and " epochs (best" in line:
                told[line.partition("] ")[2].partition(": accuracy ")[0]] += 1
    return sum(n - 1 for n in told.values())
