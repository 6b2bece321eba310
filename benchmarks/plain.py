"""The published network as one writes it from its description; nothing of ser_tune is in it."""

from collections.abc import Callable, Sequence

from torch import nn


def make_network(
    n_coefficients: int,
    n_frames: int,
    channels: Sequence[int],
    hidden: Sequence[int],
    dropout: float,
    n_emotions: int,
    dropout_layer: Callable[[float], nn.Module] = nn.Dropout,
) -> nn.Module:
    """The published network, from [clips, 1, coefficients, frames] to logits [clips, emotions]."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, channels[0]), (channels[0], channels[1])):
        layers += [nn.Conv2d(n_in, n_out, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), dropout_layer(dropout)]
    n_pooled = channels[1] * (n_coefficients // 4) * (n_frames // 4)
    layers += [nn.Flatten(), nn.Linear(n_pooled, hidden[0]), nn.ReLU(), nn.Linear(hidden[0], hidden[1]), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[1], n_emotions))
