import math

import optuna
import pytest
from optuna.trial import TrialState

from ser_tune.candidates import Candidate, make_candidate
from ser_tune.config import SpaceConfig
from ser_tune.race import Drop, list_blocks
from ser_tune.schedule import Schedule
from ser_tune.study import Told, make_study, propose, told

SPACE = SpaceConfig(lr=("log:1e-4..1e-2",), dropout=("0.1..0.5",), optimizer=("adam", "sgd"), batch_size=("int:8..64",))


def search(n: int, seed: int = 0, stop_after: int | None = None, go_on_from: Schedule | None = None) -> Schedule:
    """A search with one slot over a made-up score that is best at lr 0.001."""

    def next_candidate(schedule: Schedule) -> Candidate | None:
        return propose(SPACE, schedule, seed) if len(schedule.candidates) < n else None

    before = {} if go_on_from is None else {
        "candidates": go_on_from.candidates, "curves": go_on_from.curves, "dropped": go_on_from.dropped,
    }  # fmt: skip
    schedule = Schedule(next_candidate, list_blocks(2, 1), level=0.01, n_open=1, **before)  # type: ignore[arg-type]
    n_trials = 0
    while n_trials != stop_after and (found := schedule.next()):
        candidate, (fold, repeat) = found
        score = 0.9 - 0.3 * abs(math.log10(candidate.hyperparameters["lr"]) + 3) + 0.01 * fold
        schedule.end((candidate.id, fold, repeat), curve=[score - 0.1 * candidate.hyperparameters["dropout"]])
        n_trials += 1
    return schedule


def test_proposals_lie_in_the_space_and_no_two_are_alike() -> None:
    schedule = search(25)
    assert len({candidate.id for candidate in schedule.candidates}) == 25
    for candidate in schedule.candidates:
        values = candidate.hyperparameters
        assert list(values) == list(SPACE.dimensions())
        assert 1e-4 <= values["lr"] <= 1e-2
        assert 0.1 <= values["dropout"] <= 0.5
        assert values["optimizer"] in ("adam", "sgd")
        assert isinstance(values["batch_size"], int)


def test_proposals_learn_from_the_scores() -> None:
    def distance(candidate: Candidate) -> float:
        return abs(math.log10(candidate.hyperparameters["lr"]) + 3)

    proposed = search(40).candidates
    assert sum(map(distance, proposed[25:])) / 15 < 0.6 * sum(map(distance, proposed[:10])) / 10


def test_the_same_seed_proposes_the_same_and_another_seed_something_else() -> None:
    ids = [candidate.id for candidate in search(15).candidates]
    assert [candidate.id for candidate in search(15).candidates] == ids
    assert [candidate.id for candidate in search(15, seed=1).candidates] != ids


@pytest.mark.parametrize("n_trials", [1, 7, 15])
def test_a_search_that_was_interrupted_proposes_what_it_would_have_proposed(n_trials: int) -> None:
    whole = search(15)
    again = search(15, go_on_from=search(15, stop_after=n_trials))
    assert [candidate.id for candidate in again.candidates] == [candidate.id for candidate in whole.candidates]
    assert again.dropped == whole.dropped


def test_the_study_is_told_means_of_complete_candidates_and_that_dropped_ones_were_pruned() -> None:
    space = SpaceConfig(lr=("0.001..0.1",))
    names = [make_candidate({"lr": lr}) for lr in (0.01, 0.02, 0.03, 0.04)]
    complete, dropped, failed, running = names
    curves = {
        complete.id: {(0, 0): [0.2, 0.4], (1, 0): [0.4, 0.4]},
        dropped.id: {(0, 0): [0.1, 0.2]},
    }  # fmt: skip
    schedule = Schedule(
        lambda _schedule: None, list_blocks(2, 1), candidates=names, curves=curves,
        dropped={dropped.id: Drop(complete.id, 1, -0.2, -0.1)}, failed={(failed.id, 0, 0): "no memory"},
    )  # fmt: skip
    trials = make_study(space, [told(schedule, candidate) for candidate in names], seed=0).trials
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING,
    ]  # fmt: skip
    assert trials[0].value == pytest.approx(0.4)
    assert trials[0].intermediate_values == {1: 0.4, 2: pytest.approx(0.4)}
    assert trials[1].intermediate_values == {1: 0.2}
    assert [trial.params["lr"] for trial in trials] == [0.01, 0.02, 0.03, 0.04]
    assert running.hyperparameters == trials[3].params


def test_candidates_of_another_space_are_not_told() -> None:
    history = [
        Told({"lr": 0.5}, [0.4], TrialState.COMPLETE),
        Told({"lr": 0.01, "dropout": 0.2}, [0.4], TrialState.COMPLETE),
        Told({"lr": 0.01}, [0.4], TrialState.COMPLETE),
    ]
    study = make_study(SpaceConfig(lr=("0.001..0.1",)), history, seed=0)
    assert [trial.params for trial in study.trials] == [{"lr": 0.01}]
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_a_space_without_another_candidate_proposes_none() -> None:
    space = SpaceConfig(lr=(0.01, 0.001))
    known = [make_candidate({"lr": lr}) for lr in (0.01, 0.001)]
    assert propose(space, Schedule(lambda _schedule: None, list_blocks(2, 1), candidates=known), 0) is None
