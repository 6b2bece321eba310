"""The one epoch loop, for trials and for the refit: arrays in, one EpochScores per epoch out. No Ray.

Everything random comes from the given seed, so the same inputs, threads and device give the same weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ser_tune.config import ModelConfig, TrainingConfig
from ser_tune.dataset import IntArray, LabelledClips, Standardisation
from ser_tune.metrics import confusion_matrix, scores
from ser_tune.model import EmotionNetwork, build_network


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


@dataclass
class Learner:
    """A fresh network with the standardisation of its training rows [coefficients, 1], ready to train."""

    network: EmotionNetwork
    mean: Tensor
    std: Tensor
    optimiser: torch.optim.Optimizer
    settings: TrainingConfig
    shuffler: torch.Generator
    device: torch.device

    def standardised(self, clips: LabelledClips, rows: IntArray) -> Tensor:
        """Features of these rows [rows, coefficients, frames] on the device."""
        features = torch.from_numpy(clips.features[rows]).to(self.device)
        return features.sub_(self.mean).div_(self.std)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch; `published` puts a softmax in front, as the original did."""
        outputs = torch.softmax(logits, dim=1) if self.settings.loss == "published" else logits
        return nn.functional.cross_entropy(outputs, labels)


def start(
    train: LabelledClips,
    standardisation: Standardisation,
    model: ModelConfig,
    settings: TrainingConfig,
    lr: float,
    seed: int,
    device: str,
) -> Learner:
    """Seed torch and build a fresh network; the standardisation is that of the training rows."""
    torch.backends.cudnn.allow_tf32 = False  # precision "float32" means it, on a GPU too
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(seed)
    n_coefficients, n_frames = train.features.shape[1:]
    network = build_network(model, n_coefficients, n_frames, len(train.emotions)).to(device)
    return Learner(
        network=network,
        mean=torch.from_numpy(standardisation.mean).to(device)[:, None],
        std=torch.from_numpy(standardisation.std).to(device)[:, None],
        optimiser=torch.optim.Adam(network.parameters(), lr=lr),
        settings=settings,
        shuffler=torch.Generator().manual_seed(seed),
        device=torch.device(device),
    )


def train_epochs(
    learner: Learner, train: LabelledClips, validation: LabelledClips | None, epochs: int
) -> Iterator[EpochScores]:
    """Train epoch by epoch; the caller may stop after any. Without validation those figures stay nan."""
    for epoch in range(1, epochs + 1):
        train_loss, train_accuracy = _train_epoch(learner, train)
        if validation is None:
            yield EpochScores(epoch, train_loss, train_accuracy)
            continue
        logits = predict_logits(learner, validation)
        truth = validation.part_labels
        val_loss = float(learner.loss(logits, torch.from_numpy(truth)))
        found = scores(confusion_matrix(truth, logits.argmax(dim=1).numpy(), len(validation.emotions)))
        yield EpochScores(
            epoch, train_loss, train_accuracy, val_loss, float(found.accuracy), float(found.uar), float(found.macro_f1)
        )


def _train_epoch(learner: Learner, train: LabelledClips) -> tuple[float, float]:
    learner.network.train()
    order = train.rows[torch.randperm(len(train), generator=learner.shuffler).numpy()]
    loss_sum = torch.zeros((), device=learner.device)
    hits = torch.zeros((), device=learner.device)
    for first in range(0, len(order), learner.settings.batch_size):
        rows = order[first : first + learner.settings.batch_size]
        labels = torch.from_numpy(train.labels[rows]).to(learner.device)
        logits = learner.network(learner.standardised(train, rows))
        loss = learner.loss(logits, labels)
        learner.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimiser.step()
        # Summed on the device: reading every batch's loss would make a GPU wait.
        loss_sum += loss.detach() * len(labels)
        hits += (logits.detach().argmax(dim=1) == labels).sum()
    return float(loss_sum) / len(order), float(hits) / len(order)


@torch.no_grad()
def predict_logits(learner: Learner, clips: LabelledClips, batch_size: int = 256) -> Tensor:
    """Logits [clips, emotions] on the processor, dropout off."""
    learner.network.eval()
    parts = [clips.rows[first : first + batch_size] for first in range(0, len(clips), batch_size)]
    return torch.cat([learner.network(learner.standardised(clips, rows)).cpu() for rows in parts])
