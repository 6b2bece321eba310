"""ModelConfig and the shape of the features -> a freshly initialised network.

The published network: two convolutions with pooling and dropout, three linear layers, softmax. It trains on
logits; the softmax serves inference. What the same function costs less by is here: pooling before ReLU, channels
last, a dropout that draws 16 bits. Input of another shape raises InputError.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ser_tune.config import ModelConfig
from ser_tune.errors import InputError


class Dropout(nn.Dropout):
    """nn.Dropout that draws 16 bits per value, where torch draws 53: a fifth of a step goes into dropout otherwise.

    On a processor the zeros depend on torch's seed alone, not on its maker; the rate is exact to 1 / 65536.
    """

    def forward(self, values: Tensor) -> Tensor:
        if values.is_cuda or not self.training or self.p == 0:
            return super().forward(values)
        n_dropped = round(self.p * 2**16)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        keep = words.view(torch.int16)[: values.numel()] >= n_dropped - 2**15
        scaled = keep.to(values.dtype).mul_(2**16 / (2**16 - n_dropped))
        # In the order of memory, whatever the layout of `values`.
        return values * scaled.as_strided(values.shape, values.stride())


class EmotionNetwork(nn.Module):
    """Features [batch, coefficients, frames] -> logits [batch, emotions]."""

    def __init__(self, layers: nn.Sequential, n_coefficients: int, n_frames: int):
        super().__init__()
        self.layers = layers
        self.n_coefficients = n_coefficients
        self.n_frames = n_frames

    def forward(self, features: Tensor) -> Tensor:
        expected = (self.n_coefficients, self.n_frames)
        if features.ndim != 3 or tuple(features.shape[1:]) != expected:
            raise InputError(
                f"features have the shape {list(features.shape)}; this network expects [batch, {expected[0]}, "
                f"{expected[1]}] (coefficients, frames); extract them with the settings it was trained on"
            )
        logits: Tensor = self.layers(features.unsqueeze(1))
        return logits

    def probabilities(self, features: Tensor) -> Tensor:
        """Softmax of the logits [batch, emotions]; rows sum to 1."""
        return torch.softmax(self(features), dim=1)


def build_network(model: ModelConfig, n_coefficients: int, n_frames: int, n_emotions: int) -> EmotionNetwork:
    """A network with weights drawn from torch's global generator: seed it first.

    Two poolings by 2 leave a quarter of coefficients and frames, rounded down: InputError below 4 of either.
    """
    height, width = n_coefficients // 4, n_frames // 4
    if height == 0 or width == 0:
        raise InputError(
            f"features of {n_coefficients} coefficients and {n_frames} frames are too small for two poolings; "
            "expected 4 or more of each: raise --features.n-mfcc or --features.duration-s"
        )
    (first, second), (wide, narrow) = model.channels, model.hidden
    layers = nn.Sequential(
        *_convolution(1, first, model.dropout),
        *_convolution(first, second, model.dropout),
        nn.Flatten(),
        nn.Linear(second * height * width, wide),
        nn.ReLU(),
        nn.Linear(wide, narrow),
        nn.ReLU(),
        nn.Linear(narrow, n_emotions),
    )
    network = EmotionNetwork(layers, n_coefficients, n_frames)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's types forget this form
    return network


def _convolution(n_in: int, n_out: int, dropout: float) -> list[nn.Module]:
    """Pooling and ReLU commute: in this order ReLU has a quarter of the work."""
    return [nn.Conv2d(n_in, n_out, kernel_size=3, padding=1), nn.MaxPool2d(2), nn.ReLU(), Dropout(dropout)]


def count_parameters(model: ModelConfig, n_coefficients: int, n_frames: int, n_emotions: int) -> int:
    """Trainable parameters of the network; nothing is drawn or allocated."""
    with torch.device("meta"):
        network = build_network(model, n_coefficients, n_frames, n_emotions)
    return sum(parameter.numel() for parameter in network.parameters())


@dataclass(frozen=True)
class LayerSummary:
    """One layer as people read it; `output` without the batch."""

    layer: str
    output: tuple[int, ...]
    parameters: int


def summarise(network: EmotionNetwork) -> list[LayerSummary]:
    """The layers in order with the sizes of their outputs, the serving softmax last."""
    activation = torch.zeros(1, 1, network.n_coefficients, network.n_frames)
    rows = []
    with torch.no_grad():
        for layer in [*network.layers, nn.Softmax(dim=1)]:
            activation = layer(activation)
            size = sum(parameter.numel() for parameter in layer.parameters())
            rows.append(LayerSummary(_layer_name(layer), tuple(activation.shape[1:]), size))
    return rows


def _layer_name(layer: nn.Module) -> str:
    kind = type(layer).__name__
    if isinstance(layer, nn.Conv2d):
        return f"{kind}({layer.in_channels}, {layer.out_channels}, {layer.kernel_size[0]}, padding {layer.padding[0]})"
    if isinstance(layer, nn.Linear):
        return f"{kind}({layer.in_features}, {layer.out_features})"
    if isinstance(layer, nn.MaxPool2d):
        return f"{kind}({layer.kernel_size})"
    return f"{kind}({layer.p})" if isinstance(layer, nn.Dropout) else kind


def weights_sha256(weights: Mapping[str, Any]) -> str:
    """SHA-256 over names, shapes and values of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
