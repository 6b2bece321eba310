"""The one epoch loop, for trials and for the refit: arrays in, one EpochScores per epoch out. No Ray.

Everything random comes from the given seed, so the same inputs, precision, threads and device give the same weights.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ser_tune.config import ModelConfig, TrainingConfig
from ser_tune.dataset import LabelledClips, Standardisation
from ser_tune.errors import RunError
from ser_tune.metrics import confusion_matrix, scores
from ser_tune.model import EmotionNetwork, build_network

_SCORED_AT_ONCE = 64  # clips whose activations stay in the processor's cache


@dataclass(frozen=True)
class EpochScores:
    """One epoch. Training figures are running means over its batches, dropout on; validation ones follow it."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float = float("nan")
    val_accuracy: float = float("nan")
    val_uar: float = float("nan")
    val_macro_f1: float = float("nan")


@dataclass(frozen=True)
class Inputs:
    """All clips of an array on the device that trains; the parts of a data set are rows of it."""

    features: Tensor
    """[all, coefficients, frames]; on a processor it is the array itself, which is never written to."""
    labels: Tensor

    @property
    def device(self) -> torch.device:
        return self.features.device


def load_inputs(clips: LabelledClips, device: str) -> Inputs:
    """All clips of the array that `clips` are rows of, copied to a GPU once, not copied on a processor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        features, labels = torch.from_numpy(clips.features), torch.from_numpy(clips.labels)
    return Inputs(features.to(device), labels.to(device))


@dataclass
class Learner:
    """A fresh network with the standardisation of its training rows, ready to train."""

    network: EmotionNetwork
    inputs: Inputs
    standardisation: tuple[Tensor, Tensor]
    optimiser: torch.optim.Optimizer
    settings: TrainingConfig
    precision: str
    shuffler: torch.Generator

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch; `published` puts a softmax in front, as the original did."""
        outputs = torch.softmax(logits, dim=1) if self.settings.loss == "published" else logits
        return nn.functional.cross_entropy(outputs, labels, label_smoothing=self.settings.label_smoothing)


def start(
    train: LabelledClips,
    inputs: Inputs,
    standardisation: Standardisation,
    model: ModelConfig,
    settings: TrainingConfig,
    seed: int,
    precision: str,
) -> Learner:
    """Seed torch and build a fresh network; the standardisation is that of the training rows.

    RunError where a clip of the test split is among them.
    """
    if (train.fold[train.rows] < 0).any():
        raise RunError("leak: clips of the test split are in the training part; nothing was trained")
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(seed)
    n_coefficients, n_frames = train.features.shape[1:]
    network = build_network(model, n_coefficients, n_frames, len(train.emotions)).to(inputs.device)
    return Learner(
        network=network,
        inputs=inputs,
        standardisation=_on_device(standardisation, inputs.device),
        optimiser=_optimiser(network, settings),
        settings=settings,
        precision=precision,
        shuffler=torch.Generator().manual_seed(seed),
    )


def _optimiser(network: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    shared: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), momentum=0.9, nesterov=True, **shared)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(network.parameters(), **shared)


def train_epochs(
    learner: Learner, train: LabelledClips, validation: LabelledClips | None, epochs: int
) -> Iterator[EpochScores]:
    """Train epoch by epoch; the caller may stop after any. Without validation those figures stay nan.

    RunError where a clip is in both parts.
    """
    if validation is not None and np.isin(validation.rows, train.rows).any():
        raise RunError("leak: clips are in the training part and in the validation part; nothing was trained")
    for epoch in range(1, epochs + 1):
        train_loss, train_accuracy = _train_epoch(learner, train)
        if validation is None:
            yield EpochScores(epoch, train_loss, train_accuracy)
            continue
        logits = _predict(learner.network, learner.inputs, learner.standardisation, validation, learner.precision)
        truth = validation.part_labels
        val_loss = float(learner.loss(logits, torch.from_numpy(truth)))
        found = scores(confusion_matrix(truth, logits.argmax(dim=1).numpy(), len(validation.emotions)))
        yield EpochScores(
            epoch, train_loss, train_accuracy, val_loss, float(found.accuracy), float(found.uar), float(found.macro_f1)
        )


def _train_epoch(learner: Learner, train: LabelledClips) -> tuple[float, float]:
    learner.network.train()
    device = learner.inputs.device
    order = torch.from_numpy(train.rows)[torch.randperm(len(train), generator=learner.shuffler)].to(device)
    loss_sum, hits = torch.zeros((), device=device), torch.zeros((), device=device)
    for rows in torch.split(order, learner.settings.batch_size):
        labels = learner.inputs.labels[rows]
        batch = mask(_gather(learner.inputs, rows, learner.standardisation), learner.settings, learner.shuffler)
        with _numbers(device, learner.precision):
            logits = learner.network(batch).float()
        loss = learner.loss(logits, labels)
        learner.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        learner.optimiser.step()
        # Summed on the device: reading every batch's loss would make a GPU wait.
        loss_sum += loss.detach() * len(labels)
        hits += (logits.detach().argmax(dim=1) == labels).sum()
    return float(loss_sum) / len(order), float(hits) / len(order)


def _numbers(device: torch.device, precision: str) -> torch.autocast:
    """What the network computes in; TF32 only where it is asked for: float32 means it, on a GPU too."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def mask(batch: Tensor, settings: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Mask standardised features [batch, coefficients, frames] in place, as SpecAugment does (Park et al. 2019).

    Each clip has one run of frames and one of MFCC, with their deltas, set to 0, the mean; each run is evenly
    drawn from 0 up to the longest and lies anywhere. Nothing is drawn where both are off.
    """
    n_mfcc = batch.shape[1] // 3
    if settings.time_mask:
        frames = _runs(len(batch), batch.shape[2], settings.time_mask, generator).to(batch.device)
        batch.masked_fill_(frames[:, None, :], 0.0)
    if settings.frequency_mask:
        coefficients = _runs(len(batch), n_mfcc, settings.frequency_mask, generator).to(batch.device)
        batch.masked_fill_(coefficients.repeat(1, 3)[:, :, None], 0.0)
    return batch


def _runs(n: int, length: int, longest: int, generator: torch.Generator) -> Tensor:
    """One random run in each of `n` rows, as booleans [n, length]."""
    widths = torch.randint(0, min(longest, length) + 1, (n, 1), generator=generator)
    starts = (torch.rand(n, 1, generator=generator) * (length - widths + 1)).long()
    places = torch.arange(length)
    return (places >= starts) & (places < starts + widths)


def predict_logits(network: EmotionNetwork, standardisation: Standardisation, clips: LabelledClips) -> Tensor:
    """Logits [clips, emotions] on the processor, in float32, dropout off."""
    device = next(network.parameters()).device
    return _predict(network, load_inputs(clips, str(device)), _on_device(standardisation, device), clips, "float32")


@torch.no_grad()
def _predict(
    network: EmotionNetwork,
    inputs: Inputs,
    standardisation: tuple[Tensor, Tensor],
    clips: LabelledClips,
    precision: str,
) -> Tensor:
    network.eval()
    rows = torch.from_numpy(clips.rows).to(inputs.device)
    with _numbers(inputs.device, precision):
        parts = [network(_gather(inputs, part, standardisation)).float() for part in torch.split(rows, _SCORED_AT_ONCE)]
    return torch.cat(parts).cpu()


def _gather(inputs: Inputs, rows: Tensor, standardisation: tuple[Tensor, Tensor]) -> Tensor:
    """Standardised features [rows, coefficients, frames] on the device."""
    mean, std = standardisation
    return inputs.features.index_select(0, rows).sub_(mean).div_(std)


def _on_device(standardisation: Standardisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [coefficients, 1]."""
    mean, std = (torch.tensor(values, device=device)[:, None] for values in (standardisation.mean, standardisation.std))
    return mean, std
