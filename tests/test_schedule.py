from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_tune.candidates import Candidate
from ser_tune.race import Block, Drop, list_blocks
from ser_tune.schedule import FIRST, Schedule

Key = tuple[str, int, int]


def candidates(n: int) -> list[Candidate]:
    return [Candidate(str(number), {"lr": number}) for number in range(n)]


def schedule_of(n: int, n_folds: int = 4, **options: object) -> Schedule:
    listed: Iterator[Candidate] = iter(candidates(n))
    return Schedule(lambda _schedule: next(listed, None), list_blocks(n_folds, 1), **options)  # type: ignore[arg-type]


def key(found: tuple[Candidate, Block] | None) -> Key:
    assert found is not None
    return (found[0].id, *found[1])


def run(schedule: Schedule, scores: np.ndarray, n_slots: int = 1) -> list[Key]:
    """Run trials of these scores [candidates, folds], the oldest ending first; return them in the order started."""
    started: list[Key] = []
    running: list[Key] = []
    while True:
        while len(running) < n_slots and (found := schedule.next()):
            started.append(key(found))
            running.append(key(found))
        if not running:
            assert schedule.finished
            return started
        name, fold, repeat = running.pop(0)
        schedule.end((name, fold, repeat), curve=[float(scores[int(name), fold])])


def test_without_a_race_every_trial_runs_once_candidate_by_candidate() -> None:
    started = run(schedule_of(3, 2), np.zeros((3, 2)), n_slots=2)
    assert started == [(str(number), fold, 0) for number in range(3) for fold in range(2)]


def test_the_first_candidates_run_on_all_folds_and_the_others_wait_for_them() -> None:
    schedule = schedule_of(6, level=0.01)
    started = run(schedule, np.full((6, 4), 0.5) + np.arange(6)[:, None] / 100)
    assert [name for name, _, _ in started[: 4 * FIRST]] == [str(n) for n in range(FIRST) for _ in range(4)]
    assert [fold for _, fold, _ in started[4 * FIRST : 4 * FIRST + 6 - FIRST]] == [0] * (6 - FIRST)


def test_a_race_runs_the_most_promising_first_and_drops_what_cannot_win() -> None:
    first, second = [0.50, 0.52, 0.51, 0.50], [0.49, 0.52, 0.50, 0.49]
    scores = np.array([first, second, [0.2] * 4, [0.7, 0.72, 0.71, 0.7], [0.3] * 4])
    schedule = schedule_of(5, level=0.05)
    started = run(schedule, scores)
    assert set(schedule.dropped) == {"2", "4"}
    assert [name for name, _, _ in started[8:]] == ["2", "3", "4", "3", "3", "3"]
    assert schedule.is_complete(schedule.candidates[3])


@given(st.integers(1, 7), st.integers(2, 5), st.integers(1, 5), st.integers(0, 10**6), st.booleans())
@settings(deadline=None, max_examples=60)
def test_no_slot_is_idle_while_a_trial_is_left_and_no_trial_runs_twice(
    n: int, n_folds: int, n_slots: int, seed: int, few_open: bool
) -> None:
    random = np.random.default_rng(seed)
    scores = random.random((n, n_folds))
    schedule = schedule_of(n, n_folds, level=0.05, n_open=n_slots if few_open else 10**9)
    running: list[Key] = []
    started: list[Key] = []
    while True:
        while len(running) < n_slots and (found := schedule.next()):
            running.append(key(found))
            started.append(key(found))
        if len(running) < n_slots:  # nothing may be left to start
            for candidate in schedule.open_candidates():
                for block in schedule.blocks:
                    assert block in schedule.curves.get(candidate.id, {}) or (candidate.id, *block) in running
        if not running:
            break
        name, fold, repeat = running.pop(int(random.integers(len(running))))
        if name in schedule.dropped:
            schedule.end((name, fold, repeat))  # the searcher stops it
        else:
            schedule.end((name, fold, repeat), curve=[float(scores[int(name), fold])])
    assert schedule.finished
    assert len(started) == len(set(started))
    assert len(schedule.candidates) == n
    for candidate in schedule.candidates:
        assert schedule.is_complete(candidate) or candidate.id in schedule.dropped


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=8)
def test_a_search_that_goes_on_after_a_kill_decides_what_it_would_have_decided(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(0.5, 0.05, (6, 4)) + np.arange(6)[:, None] / 50
    undisturbed = schedule_of(6, level=0.05)
    started = run(undisturbed, scores)
    for n_done in range(len(started)):
        before = schedule_of(6, level=0.05)
        for _ in range(n_done):
            name, fold, repeat = key(before.next())
            before.end((name, fold, repeat), curve=[float(scores[int(name), fold])])
        after = schedule_of(6, level=0.05, curves=before.curves, dropped=before.dropped)
        after.judge()
        assert run(after, scores) == started[n_done:]
        assert set(after.dropped) == set(undisturbed.dropped)


def test_a_candidate_with_a_trial_given_up_is_run_no_further_and_the_others_go_on() -> None:
    schedule = schedule_of(2, 3)
    schedule.end(key(schedule.next()), failure="no memory")
    assert [key(schedule.next()) for _ in range(3)] == [("1", fold, 0) for fold in range(3)]
    for fold in range(3):
        schedule.end(("1", fold, 0), curve=[0.5])
    assert schedule.finished
    assert not schedule.is_complete(schedule.candidates[0])


def test_candidates_whose_features_are_not_there_are_passed_over_and_not_forgotten() -> None:
    schedule = schedule_of(2, 2)
    assert key(schedule.next(lambda candidate: candidate.id == "1")) == ("1", 0, 0)
    assert schedule.next(lambda _candidate: False) is None
    assert not schedule.finished
    assert key(schedule.next()) == ("0", 0, 0)


def test_only_so_many_candidates_are_open_at_a_time() -> None:
    schedule = schedule_of(5, 2, n_open=1, level=0.05)
    assert key(schedule.next()) == ("0", 0, 0)
    assert key(schedule.next()) == ("0", 1, 0)
    assert schedule.next() is None
    assert len(schedule.candidates) == 1
    schedule.end(("0", 0, 0), curve=[0.5])
    schedule.end(("0", 1, 0), curve=[0.5])
    assert key(schedule.next()) == ("1", 0, 0)


def test_candidates_of_an_earlier_search_count_as_rivals() -> None:
    earlier = {"old": {block: [0.9 + block[0] / 100] for block in list_blocks(4, 1)}}
    schedule = schedule_of(4, level=0.05, curves=earlier)
    run(schedule, np.full((4, 4), 0.5) + np.array([0, 0.01, 0.02, 0.03]))
    assert {name: drop.against for name, drop in schedule.dropped.items()} == {"2": "old", "3": "old"}


def test_what_was_dropped_stays_dropped() -> None:
    schedule = schedule_of(3, 2, level=0.05, dropped={"2": Drop("0", 1, -0.1, -0.05)})
    assert {name for name, _, _ in run(schedule, np.full((3, 2), 0.5))} == {"0", "1"}
