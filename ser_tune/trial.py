"""(candidate, fold) -> its TrialResult: what Ray Tune runs on a worker.

Each trial builds a fresh network from the seed of its fold, standardises by the training part of that
fold alone, reports every epoch, and with the last one its whole result.
"""

import dataclasses
import platform
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray
import torch
from ray import tune

from ser_tune.candidates import Candidate
from ser_tune.config import Setting, resolve
from ser_tune.dataset import LabelledClips, fit_standardisation
from ser_tune.experiment import TrialKey, TrialResult
from ser_tune.model import weights_sha256
from ser_tune.training import EpochScores, Inputs, load_inputs, start, train_epochs

RESULT = "trial_result"  # the key of the last report that holds the finished trial


@dataclass(frozen=True)
class Trial:
    """One trial to run: a candidate on a fold."""

    candidate: Candidate
    fold: int
    repeat: int
    seed: int

    @property
    def key(self) -> TrialKey:
        return self.candidate.id, self.fold, self.repeat


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of an experiment share beside the data; `base` is what a candidate changes."""

    base: Setting
    data_fingerprint: str
    n_threads: int
    precision: str
    """float32, bfloat16 or tf32: resolved, the same for all."""


def run_trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """The function trainable: config["trial"] is a Trial, config["data"] its LabelledClips in the object store."""
    trial: Trial = config["trial"]
    torch.set_num_threads(settings.n_threads)
    for report in train_trial(trial, *_load(config["data"]), settings):
        if isinstance(report, TrialResult):
            tune.report({RESULT: dataclasses.asdict(report), **_last_scores(report)})
        elif report.epoch < settings.base.training.epochs:
            tune.report(dataclasses.asdict(report))


@lru_cache(maxsize=1)
def _load(data: ray.ObjectRef) -> tuple[LabelledClips, Inputs]:
    """The clips, and these on the device; kept, as the next trial of this process needs mostly the same."""
    clips: LabelledClips = ray.get(data)
    return clips, load_inputs(clips, device_here())


def device_here() -> str:
    """What this process trains on: Ray hides the GPUs that it did not give."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def train_trial(trial: Trial, data: LabelledClips, inputs: Inputs, settings: TrialSettings) -> Any:
    """Yield the EpochScores of every epoch and then the TrialResult; needs no Ray."""
    started = time.perf_counter()
    train = data.without_fold(trial.fold)
    setting = resolve(settings.base, trial.candidate.hyperparameters)
    standardisation = fit_standardisation(train)
    learner = start(train, inputs, standardisation, setting.model, setting.training, trial.seed, settings.precision)
    initial_weights = weights_sha256(learner.network.state_dict())
    curve: list[EpochScores] = []
    for scores in train_epochs(learner, train, data.only_fold(trial.fold), setting.training.epochs):
        curve.append(scores)
        yield scores
    yield TrialResult(
        candidate=trial.candidate.id,
        fold=trial.fold,
        repeat=trial.repeat,
        seed=trial.seed,
        hyperparameters=trial.candidate.hyperparameters,
        epochs=len(curve),
        train_loss=[scores.train_loss for scores in curve],
        train_accuracy=[scores.train_accuracy for scores in curve],
        val_loss=[scores.val_loss for scores in curve],
        val_accuracy=[scores.val_accuracy for scores in curve],
        val_uar=[scores.val_uar for scores in curve],
        val_macro_f1=[scores.val_macro_f1 for scores in curve],
        initial_weights_sha256=initial_weights,
        precision=settings.precision,
        seconds=time.perf_counter() - started,
        node=platform.node(),
        device=torch.cuda.get_device_name() if inputs.device.type == "cuda" else "cpu",
        data_fingerprint=settings.data_fingerprint,
    )


def _last_scores(result: TrialResult) -> dict[str, Any]:
    names = [item.name for item in dataclasses.fields(EpochScores) if item.name != "epoch"]
    return {"epoch": result.epochs, **{name: getattr(result, name)[-1] for name in names}}
