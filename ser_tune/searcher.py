"""Which trial comes next, and what becomes of it: Ray Tune runs the trials this module hands out.

A finished trial is on the disk before the next is asked for. Tune's own record is thrown away: a search
goes on from trials.jsonl.
"""

import dataclasses
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from ser_tune.config import ComputeConfig, require
from ser_tune.dataset import LabelledClips
from ser_tune.experiment import TrialResult
from ser_tune.training import EpochScores
from ser_tune.trial import RESULT, Trial, TrialSettings, run_trial

MAX_FAILURES = 2  # a lost node costs a trial its run, not its fold: it starts again elsewhere


class Observer(Protocol):
    """Who is told what trials do: the recorder of results, the board, TensorBoard."""

    def started(self, trial: Trial) -> None: ...
    def epoch(self, trial: Trial, scores: EpochScores) -> None: ...
    def finished(self, trial: Trial, result: TrialResult) -> None: ...
    def failed(self, trial: Trial, reason: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class TrialResources:
    """What each trial is given by Ray."""

    cpus: int
    gpus: float


class FoldSearcher(Searcher):  # type: ignore[misc]  # Ray's classes are untyped here
    """Hands out the pending trials in order, each once."""

    def __init__(self, pending: Sequence[Trial]):
        super().__init__()
        self._pending = list(reversed(pending))

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial, or Searcher.FINISHED."""
        return {"trial": self._pending.pop()} if self._pending else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to learn: a grid proposes the same trials whatever they score."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: trials.jsonl is the record that a search goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as nothing was saved."""


class _Relay(tune.Callback):  # type: ignore[misc]
    """Tells the observers, in Tune's process, what its trials report."""

    def __init__(self, observers: Sequence[Observer]):
        self.observers = observers

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks, to restore a run that we never restore; a board cannot be pickled."""
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

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        lines = Path(trial.error_file).read_text().split("\n") if trial.error_file else []
        said = [line for line in lines if line and not line.startswith(" ")]
        for observer in self.observers:
            observer.failed(trial.config["trial"], said[-1] if said else "its process ended without a result")


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


def run_trials(
    pending: Sequence[Trial],
    data: LabelledClips,
    settings: TrialSettings,
    resources: TrialResources,
    observers: Sequence[Observer],
) -> None:
    """Run the pending trials on the connected cluster; returns when each has finished or failed for good."""
    os.environ.update(
        RAY_AIR_NEW_OUTPUT="0",  # the newer reporter prints a table at verbose=0 too
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_GLOBAL_CHECKPOINT_S="inf",
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, data=data, settings=settings),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
    # No trial writes files, so only this process needs the folder that Tune insists on.
    with tempfile.TemporaryDirectory(prefix="ser_tune-") as scratch:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=FoldSearcher(pending),
                num_samples=-1,
                max_concurrent_trials=len(pending),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="trials",
                callbacks=[_Relay(observers)],
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0,
            ),
        ).fit()
