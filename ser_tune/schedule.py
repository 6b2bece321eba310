"""Which trial comes next, and which candidates are dropped or given up; told of all that ends.

A grid runs candidate by candidate. A race runs the first candidates on all folds, then the others breadth-first,
the most promising first. Pure: the searcher drives it with trials, a benchmark with tables of scores.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ser_tune.candidates import Candidate
from ser_tune.experiment import TrialKey
from ser_tune.race import Block, Curve, Drop, find_hopeless

FIRST = 2  # candidates that run on all folds, so that there is somebody to beat and a spread to judge by
EVERYTHING = 10**9


class Proposer(Protocol):
    """Where candidates come from."""

    def __call__(self, schedule: "Schedule") -> Candidate | None:
        """The next candidate, or None: there are no more."""


class Schedule:
    """The state of a search; blocks are the (fold, repeat) pairs that every candidate runs on, in their order.

    `level` is that of the race, None where there is none; at most `n_open` unresolved candidates are held at a
    time. `curves` [candidate][block] of trials that finished before count, those of other searches too.
    """

    def __init__(
        self,
        propose: Proposer,
        blocks: Sequence[Block],
        *,
        level: float | None = None,
        n_open: int = EVERYTHING,
        candidates: Sequence[Candidate] = (),
        curves: Mapping[str, Mapping[Block, Curve]] | None = None,
        dropped: Mapping[str, Drop] | None = None,
        failed: Mapping[TrialKey, str] | None = None,
    ):
        self.propose = propose
        self.blocks = list(blocks)
        self.level = level
        self.n_open = n_open
        self.candidates = list(candidates)
        self.curves = {name: dict(done) for name, done in (curves or {}).items()}
        self.dropped = dict(dropped or {})
        self.failed = dict(failed or {})
        self.running: set[TrialKey] = set()
        self._exhausted = False

    def next(self, ready: Callable[[Candidate], bool] | None = None) -> tuple[Candidate, Block] | None:
        """The trial to start now, of a candidate that is ready; None: nothing until something ends, or at all."""
        self._open_candidates()
        order = {candidate.id: place for place, candidate in enumerate(self.candidates)}
        waiting = [candidate for candidate in self.open_candidates() if self._unstarted(candidate)]
        waiting = [candidate for candidate in waiting if ready is None or ready(candidate)]
        if not waiting:
            return None
        candidate = min(waiting, key=lambda candidate: self._priority(candidate, order[candidate.id]))
        block = self._unstarted(candidate)[0]
        self.running.add((candidate.id, *block))
        return candidate, block

    @property
    def finished(self) -> bool:
        """Whether every candidate that will be proposed is resolved."""
        self._open_candidates()
        return self._exhausted and not self.open_candidates() and not self.running

    def end(self, key: TrialKey, curve: Curve | None = None, failure: str | None = None) -> dict[str, Drop]:
        """Note that a trial finished with its validation curve, failed for good, or was stopped (neither).

        Returns the candidates that are dropped for it, with the reason.
        """
        self.running.discard(key)
        name, fold, repeat = key
        if failure is not None:
            self.failed[key] = failure
        if curve is None:
            return {}
        self.curves.setdefault(name, {})[fold, repeat] = curve
        return self.judge()

    def judge(self) -> dict[str, Drop]:
        """Drop the open candidates, but for the first, that are not expected to win."""
        if self.level is None:
            return {}
        names = {candidate.id for candidate in self.candidates[FIRST:] if self.is_open(candidate)}
        hopeless = find_hopeless(self.curves, self.blocks, self.level) if names & self.curves.keys() else {}
        new = {name: drop for name, drop in hopeless.items() if name in names}
        self.dropped |= new
        return new

    def is_complete(self, candidate: Candidate) -> bool:
        return len(self.curves.get(candidate.id, ())) == len(self.blocks)

    def is_open(self, candidate: Candidate) -> bool:
        """Whether it may still run: not complete, not dropped, no trial given up."""
        given_up = any(key[0] == candidate.id for key in self.failed)
        return not (self.is_complete(candidate) or candidate.id in self.dropped or given_up)

    def open_candidates(self) -> list[Candidate]:
        """In the order they were proposed."""
        return [candidate for candidate in self.candidates if self.is_open(candidate)]

    def _open_candidates(self) -> None:
        while not self._exhausted and len(self.open_candidates()) < self.n_open:
            candidate = self.propose(self)
            if candidate is None:
                self._exhausted = True
            else:
                self.candidates.append(candidate)

    def _unstarted(self, candidate: Candidate) -> list[Block]:
        done = self.curves.get(candidate.id, {})
        return [block for block in self.blocks if block not in done and (candidate.id, *block) not in self.running]

    def _priority(self, candidate: Candidate, place: int) -> tuple[float, ...]:
        """Smallest first. In a race a candidate that awaits a result is judged before it runs on, where possible."""
        if self.level is None or place < FIRST:
            return (0, place)
        if any(key[0] == candidate.id for key in self.running):
            return (3, place)
        done = self.curves.get(candidate.id)
        if not done:
            return (1, place)
        return (2, -float(np.mean(list(done.values()), axis=0).max()), place)
