"""A Ray Tune Searcher of (candidate, fold) trials: Tune runs what the search hands out, and observers hear of it.

A finished trial is on the disk before the next is asked for. Tune's own record is thrown away: a search
goes on from the experiment's folder.
"""

import dataclasses
import logging
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ser_tune.config import ComputeConfig, require
from ser_tune.experiment import TrialResult
from ser_tune.training import EpochScores
from ser_tune.trial import RESULT, Trial, TrialSettings, run_trial

MANY = 10**6  # Tune would otherwise hold one pending trial; the searcher knows how many there is room for


class Observer(Protocol):
    """Who is told what trials do: the recorder of results, the board, TensorBoard."""

    def started(self, trial: Trial) -> None: ...
    def epoch(self, trial: Trial, scores: EpochScores) -> None: ...
    def finished(self, trial: Trial, result: TrialResult) -> None: ...
    def retried(self, trial: Trial, reason: str) -> None: ...
    def failed(self, trial: Trial, reason: str) -> None: ...
    def stopped(self, trial: Trial) -> None: ...


@dataclasses.dataclass(frozen=True)
class TrialResources:
    """What each trial is given by Ray."""

    cpus: int
    gpus: float


class Work(Protocol):
    """What a search hands out, one trial at a time."""

    def next(self) -> tuple[Trial, ray.ObjectRef] | None:
        """A trial to start now and its LabelledClips in the object store; None: nothing before something ends."""

    def is_finished(self) -> bool:
        """Whether nothing is left, and nothing that runs can change that."""

    def is_unwanted(self, trial: Trial) -> bool:
        """Whether a running trial may be stopped: its candidate was dropped."""


class FoldSearcher(Searcher):  # type: ignore[misc]  # Ray's classes are untyped here
    """Hands Tune the trials of `work`, at most `n_slots()` at a time, as slots are free."""

    def __init__(self, work: Work, n_slots: Callable[[], float]):
        super().__init__()
        self._work = work
        self._n_slots = n_slots
        self._running: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher, to restore a run that we never restore."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial; None: ask again; or Searcher.FINISHED."""
        if len(self._running) < self._n_slots() and (found := self._work.next()):
            self._running.add(trial_id)
            return {"trial": found[0], "data": found[1]}
        return str(Searcher.FINISHED) if not self._running and self._work.is_finished() else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A slot is free; what came of the trial the observers were told."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the experiment's folder is the record that a search goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as nothing was saved."""


class _StopUnwanted(FIFOScheduler):  # type: ignore[misc]
    """Ends a running trial at its next epoch, once its candidate is dropped."""

    def __init__(self, work: Work):
        super().__init__()
        self._work = work

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        unwanted = "epoch" in result and self._work.is_unwanted(trial.config["trial"])
        return str(TrialScheduler.STOP if unwanted else TrialScheduler.CONTINUE)


class _Relay(tune.Callback):  # type: ignore[misc]
    """Tells the observers, in Tune's process, what its trials report."""

    def __init__(self, observers: Sequence[Observer]):
        self.observers = observers

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks too; a board cannot be pickled."""
        return {"observers": ()}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        for observer in self.observers:
            observer.started(trial.config["trial"])

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        fields = [item.name for item in dataclasses.fields(EpochScores)]
        scores = EpochScores(**{name: result[name] for name in fields}) if "epoch" in result else None
        for observer in self.observers:
            if scores is not None:
                observer.epoch(trial.config["trial"], scores)
            if RESULT in result:
                observer.finished(trial.config["trial"], TrialResult(**result[RESULT]))

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Tune calls a trial that it was told to stop complete."""
        if RESULT not in trial.last_result:
            for observer in self.observers:
                observer.stopped(trial.config["trial"])
        _release(trial)

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        for observer in self.observers:
            observer.retried(trial.config["trial"], _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        for observer in self.observers:
            observer.failed(trial.config["trial"], _reason(trial))
        _release(trial)


def _release(trial: TuneTrial) -> None:
    """Let go of the data of a trial that has ended: Tune keeps its trials, and the store would keep every data set."""
    trial.config.pop("data", None)
    trial.evaluated_params.pop("data", None)


def _reason(trial: TuneTrial) -> str:
    """The last line of the trial's error that is none of its traceback's, or what it means."""
    text = Path(trial.error_file).read_text() if trial.error_file else ""
    said = [line for line in text.split("\n") if line and not line.startswith(" ")]
    reason = said[-1] if said else "its process ended without a result"
    reason = reason.partition(" Some common causes include")[0]  # Ray's guesses, which are no reason
    if "CUDA out of memory" in text:
        return (
            "the GPU ran out of memory; give each trial more of it (--compute.gpus-per-trial) or smaller batches "
            f"({reason})"
        )
    return reason


def choose_resources(compute: ComputeConfig, n_trials: int) -> TrialResources:
    """What each trial gets on the connected cluster; what is None is chosen.

    One thread a trial uses the cores best while there are more trials than cores; a trial fits on one node.
    InputError where a Ray of one's own can never give what is asked (a cluster may grow).
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = {kind: max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    cpus, gpus = compute.cpus_per_trial, compute.gpus_per_trial
    if cpus is None:
        total = int(sum(node.get("CPU", 0) for node in nodes))
        cpus = max(1, min(total // max(1, n_trials), int(most["CPU"])))
    if gpus is None:
        gpus = 0.25 if most["GPU"] > 0 else 0.0
    if compute.address is None:
        require(cpus <= most["CPU"], "compute.cpus-per-trial", cpus, f"at most this machine's {most['CPU']:g}")
        require(gpus <= most["GPU"], "compute.gpus-per-trial", gpus, f"at most this machine's {most['GPU']:g}")
    return TrialResources(cpus, gpus)


def count_slots(resources: TrialResources) -> int:
    """Trials that the connected cluster has room for at this moment."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {kind: n for kind, n in (("CPU", resources.cpus), ("GPU", resources.gpus)) if n > 0}
    return sum(min(int(node.get(kind, 0) / n + 1e-9) for kind, n in wanted.items()) for node in alive)


def run_trials(
    work: Work,
    settings: TrialSettings,
    resources: TrialResources,
    observers: Sequence[Observer],
    *,
    n_slots: Callable[[], float] = lambda: math.inf,
    retries: int = 3,
) -> None:
    """Run what `work` hands out on the connected cluster, until it is finished.

    A trial whose process, node or code fails starts again up to `retries` times.
    """
    os.environ.update(
        RAY_AIR_NEW_OUTPUT="0",  # the newer reporter prints a table at verbose=0 too
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_GLOBAL_CHECKPOINT_S="inf",
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, settings=settings), {"cpu": resources.cpus, "gpu": resources.gpus}
    )
    # No trial writes files, so only this process needs the folder that Tune insists on.
    with tempfile.TemporaryDirectory(prefix="ser_tune-") as scratch:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=FoldSearcher(work, n_slots),
                scheduler=_StopUnwanted(work),
                num_samples=-1,
                max_concurrent_trials=MANY,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="trials",
                callbacks=[_Relay(observers)],
                failure_config=tune.FailureConfig(max_failures=retries),
                verbose=0,
            ),
        ).fit()
