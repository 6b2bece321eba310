"""What became of the candidates so far -> the candidate that Optuna's TPE proposes next, by its own ask and tell.

The study is told anew for every proposal, and its sampler seeded by the proposal's number: a search that was
interrupted asks what it would have asked. Proposals depend on the order in which trials end.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from ser_tune.candidates import Candidate, derive_seed, make_candidate
from ser_tune.config import Choices, Dimension, SpaceConfig
from ser_tune.schedule import Schedule

ATTEMPTS = 50  # at a proposal that is not there yet


@dataclass(frozen=True)
class Told:
    """What the study is told of a candidate: its mean after each fold, and how it ended."""

    hyperparameters: Mapping[str, Any]
    means: Sequence[float]
    state: TrialState
    """COMPLETE, PRUNED (dropped), FAIL or RUNNING."""


def told(schedule: Schedule, candidate: Candidate) -> Told:
    """What the schedule knows of a candidate."""
    curves = schedule.curves.get(candidate.id, {})
    done = [curves[block] for block in schedule.blocks if block in curves]
    means = [max(_mean(done[:n])) for n in range(1, len(done) + 1)]
    if schedule.is_complete(candidate):
        state = TrialState.COMPLETE
    elif candidate.id in schedule.dropped:
        state = TrialState.PRUNED
    else:
        state = TrialState.RUNNING if schedule.is_open(candidate) else TrialState.FAIL
    return Told(candidate.hyperparameters, means, state)


def _mean(curves: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*curves, strict=True)]


def make_study(space: SpaceConfig, history: Sequence[Told], seed: int) -> optuna.Study:
    """A study that was told of the candidates which the space holds; scores are to be as high as possible."""
    distributions = {name: _distribution(dimension) for name, dimension in space.dimensions().items()}
    logging.getLogger("optuna").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # constant_liar: a candidate that still runs counts as a bad one, so that others are not put beside it.
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.NopPruner())
    for item in history:
        if not _holds(distributions, item.hyperparameters):
            continue
        study.enqueue_trial(dict(item.hyperparameters))
        trial = study.ask(distributions)
        for step, mean in enumerate(item.means, start=1):
            trial.report(mean, step)
        if item.state == TrialState.COMPLETE:
            study.tell(trial, item.means[-1])
        elif item.state != TrialState.RUNNING:
            study.tell(trial, state=item.state)
    return study


def propose(space: SpaceConfig, schedule: Schedule, seed: int) -> Candidate | None:
    """The next candidate of TPE, none that is there already; None where it finds no other."""
    history = [told(schedule, candidate) for candidate in schedule.candidates]
    known = {candidate.id for candidate in schedule.candidates}
    number = len(schedule.candidates)
    dimensions = space.dimensions()
    study = make_study(space, history, derive_seed(f"optuna {seed} {number}") % 2**32)
    distributions = {name: _distribution(dimension) for name, dimension in dimensions.items()}
    for _ in range(ATTEMPTS):
        trial = study.ask(distributions)
        candidate = make_candidate({name: _rounded(dimensions[name], value) for name, value in trial.params.items()})
        if candidate.id not in known:
            return candidate
        study.tell(trial, state=TrialState.FAIL)
    return None


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _rounded(dimension: Dimension, value: Any) -> Any:
    """Four digits, as candidates drawn at random have, within the range."""
    if isinstance(dimension, Choices) or dimension.whole:
        return value
    return min(max(float(f"{value:.4g}"), dimension.low), dimension.high)


def _holds(distributions: Mapping[str, BaseDistribution], values: Mapping[str, Any]) -> bool:
    """Whether the space can have proposed the values."""
    try:
        create_trial(params=dict(values), distributions=dict(distributions), value=0.0)
    except ValueError:
        return False
    return True
