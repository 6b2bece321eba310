"""The network, layer by layer."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ser_tune.figures.canvas import GREY, WIDTH, new_figure

LAYER_COLOURS = {"Conv": "#BFDDF0", "Linear": "#F9D5BF", "MaxPool": "#BFE7DC", "Dropout": "#EFDCE8"}


def network_figure(layers: Sequence[tuple[str, Sequence[int], int]], n_inputs: Sequence[int]) -> Figure:
    """The layers (name, output without the batch, parameters) downwards, the wider the larger the output."""
    title = f"The network: {sum(layer[2] for layer in layers):,} parameters"
    figure, axes = new_figure(WIDTH, 0.9 + 0.36 * (len(layers) + 1), title)
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(len(layers) + 0.6, -1)
    rows = [("features (MFCC, delta, delta-delta)", n_inputs, 0), *layers]
    largest = max(math.log(math.prod(output) + 1) for _, output, _ in rows)
    for x, heading, side in [(2.6, "layer", "center"), (7.55, "output", "right"), (9.95, "parameters", "right")]:
        axes.text(x, -0.7, heading, ha=side, va="center", color=GREY)
    for row, (name, output, parameters) in enumerate(rows):
        width = 5.1 * (0.45 + 0.55 * math.log(math.prod(output) + 1) / largest)
        colour = next((shade for kind, shade in LAYER_COLOURS.items() if name.startswith(kind)), "#E8E8E8")
        box = FancyBboxPatch((2.6 - width / 2, row - 0.36), width, 0.72, boxstyle="round,pad=0,rounding_size=0.12")
        box.set(facecolor=colour, edgecolor=GREY, linewidth=0.6)
        axes.add_patch(box)
        axes.text(2.6, row, name, ha="center", va="center", fontsize=9)
        axes.text(7.55, row, " x ".join(map(str, output)), ha="right", va="center", fontsize=9)
        axes.text(9.95, row, f"{parameters:,}" if parameters else "-", ha="right", va="center", fontsize=9)
    return figure
