"""The final trainer: the chosen candidate, its epochs, the whole training split -> the final weights."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ray
import torch

from ser_tune.candidates import Candidate
from ser_tune.config import resolve
from ser_tune.dataset import LabelledClips, Standardisation, fit_standardisation
from ser_tune.searcher import TrialResources
from ser_tune.training import EpochScores, Inputs, load_inputs, start, train_epochs
from ser_tune.trial import TrialSettings, device_here


@dataclass(frozen=True)
class Refit:
    """The final network's weights, its standardisation and its training curve, one entry per epoch."""

    weights: dict[str, torch.Tensor]
    standardisation: Standardisation
    train_loss: list[float]
    train_accuracy: list[float]
    node: str


def refit_epochs(
    data: LabelledClips, inputs: Inputs, settings: TrialSettings, candidate: Candidate, epochs: int, seed: int
) -> Iterator[EpochScores | Refit]:
    """Yield the scores of every epoch and then the Refit; `data` is the training split. Needs no Ray."""
    standardisation = fit_standardisation(data)
    setting = resolve(settings.base, candidate.hyperparameters)
    learner = start(data, inputs, standardisation, setting.model, setting.training, seed, settings.precision)
    curve: list[EpochScores] = []
    for epoch_scores in train_epochs(learner, data, None, epochs):
        curve.append(epoch_scores)
        yield epoch_scores
    weights = {name: tensor.detach().cpu() for name, tensor in learner.network.state_dict().items()}
    losses, accuracies = [s.train_loss for s in curve], [s.train_accuracy for s in curve]
    yield Refit(weights, standardisation, losses, accuracies, platform.node())


def run_refit(
    data: ray.ObjectRef,
    settings: TrialSettings,
    resources: TrialResources,
    candidate: Candidate,
    epochs: int,
    seed: int,
    on_epoch: Callable[[EpochScores], None],
) -> Refit:
    """The refit as one task on the connected cluster, where the trials ran; `on_epoch` hears of its epochs.

    `data` refers to the LabelledClips of the training split.
    """
    options = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "num_returns": "streaming", "max_retries": 2}
    remote = ray.remote(**options)(_refit_on_worker)
    for reference in remote.remote(data, settings, candidate, epochs, seed):
        item = ray.get(reference)
        if isinstance(item, Refit):
            return item
        on_epoch(item)
    raise AssertionError("refit_epochs ends with the Refit")


def _refit_on_worker(
    data: LabelledClips, settings: TrialSettings, candidate: Candidate, epochs: int, seed: int
) -> Iterator[EpochScores | Refit]:
    torch.set_num_threads(settings.n_threads)
    yield from refit_epochs(data, load_inputs(data, device_here()), settings, candidate, epochs, seed)
