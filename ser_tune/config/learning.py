"""The network, how it is trained, and all that a candidate may set."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from ser_tune.config.checks import require
from ser_tune.config.data import FeatureConfig


@dataclass(frozen=True)
class ModelConfig:
    channels: tuple[int, int] = (32, 64)
    """Channels of the two convolutions [1..1024]."""
    hidden: tuple[int, int] = (256, 128)
    """Widths of the two hidden linear layers [1..8192]."""
    dropout: float = 0.2
    """Dropout after each pooling [0..0.9]."""

    def __post_init__(self) -> None:
        require(all(1 <= width <= 1024 for width in self.channels), "model.channels", self.channels, "1 to 1024 each")
        require(all(1 <= width <= 8192 for width in self.hidden), "model.hidden", self.hidden, "1 to 8192 each")
        require(0 <= self.dropout <= 0.9, "model.dropout", self.dropout, "0 to 0.9")


@dataclass(frozen=True)
class TrainingConfig:
    epochs: int = 30
    """Passes over the training part [1..10000]."""
    batch_size: int = 32
    """Clips per step of the optimiser [1..4096]."""
    loss: Literal["logits", "published"] = "logits"
    """logits: cross-entropy on the logits; published: on the softmax, as the original did."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """adam; adamw: Adam with decoupled weight decay; sgd: with Nesterov momentum 0.9."""
    weight_decay: float = 0.0
    """Weight decay of the optimiser [0..1]."""
    label_smoothing: float = 0.0
    """Share of the target that all emotions divide among themselves [0..0.9]."""
    time_mask: int = 0
    """Longest run of frames masked in each training clip, as SpecAugment does; 0: none [frames]."""
    frequency_mask: int = 0
    """Longest run of MFCC masked in each training clip, with their deltas; 0: none [coefficients]."""
    precision: Literal["auto", "float32", "bfloat16", "tf32"] = "auto"
    """auto: float32 unless another is measured to be clearly faster here, once per experiment; tf32: on a GPU."""
    lr: Annotated[float, tyro.conf.Suppress] = 0.001
    """Learning rate [more than 0, at most 1]; every candidate has its own, see --space.lr."""

    def __post_init__(self) -> None:
        require(1 <= self.epochs <= 10000, "training.epochs", self.epochs, "1 to 10000")
        require(1 <= self.batch_size <= 4096, "training.batch-size", self.batch_size, "1 to 4096")
        known = self.optimizer in ("adam", "adamw", "sgd")
        require(known, "training.optimizer", self.optimizer, "adam, adamw or sgd")
        known = self.precision in ("auto", "float32", "bfloat16", "tf32")
        require(known, "training.precision", self.precision, "auto, float32, bfloat16 or tf32")
        require(0 <= self.weight_decay <= 1, "training.weight-decay", self.weight_decay, "0 to 1")
        require(0 <= self.label_smoothing <= 0.9, "training.label-smoothing", self.label_smoothing, "0 to 0.9")
        require(0 <= self.time_mask <= 10000, "training.time-mask", self.time_mask, "0 to 10000 frames")
        require(0 <= self.frequency_mask <= 128, "training.frequency-mask", self.frequency_mask, "0 to 128 MFCC")
        require(0 < self.lr <= 1, "training.lr", self.lr, "learning rates above 0 and at most 1")


@dataclass(frozen=True)
class Setting:
    """All that a candidate may set: what a clip becomes, the network, its training."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        time_mask, frequency_mask = self.training.time_mask, self.training.frequency_mask
        n_frames, n_mfcc = self.features.n_frames, self.features.n_mfcc
        require(time_mask <= n_frames, "training.time-mask", time_mask, f"at most the {n_frames} frames of a clip")
        require(frequency_mask <= n_mfcc, "training.frequency-mask", frequency_mask, f"at most the {n_mfcc} MFCC")
