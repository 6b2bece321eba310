"""What people look at: curves, comparison, confusion matrix, scores, network; a function per figure.

Plain values come in, a matplotlib Figure goes out; nothing global is touched. Colours are Okabe and Ito's,
which colour-blind people can tell apart. Scores are drawn in percent.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from ser_tune.experiment import TrialResult
from ser_tune.files import write_atomically

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676"
METRIC_NAMES = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro F1"}
Rows = Mapping[str, Mapping[str, Any]]
WIDTH = 5.2  # inches; narrow, so that words can still be read at a phone's width
LAYER_COLOURS = {"Conv": "#BFDDF0", "Linear": "#F9D5BF", "MaxPool": "#BFE7DC", "Dropout": "#EFDCE8"}
DPI = 160


def candidate_figure(
    title: str, folds: Sequence[TrialResult], metric: str, epochs: int, loss_limit: float, chance: float
) -> Figure:
    """Loss above, scores below, over the epochs: a thin line per fold, a thick one for their mean.

    The mean is drawn for a complete candidate, which `epochs` above 0, its chosen epoch, tells. Loss is
    shown up to `loss_limit`, `chance` [0..1] is drawn among the scores.
    """
    figure = Figure(figsize=(4.3, 5.2), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True)
    _draw_folds(losses, [(fold.train_loss, fold.val_loss) for fold in folds], 1, mean=epochs > 0)
    _draw_folds(rates, [(fold.train_accuracy, fold.curve(metric)) for fold in folds], 100, mean=epochs > 0)
    losses.set_ylim(0, loss_limit)
    losses.set_ylabel("loss (cross-entropy)")
    rates.set_ylim(0, 100)
    validated = "accuracy" if metric == "accuracy" else f"training accuracy,\nvalidation {METRIC_NAMES[metric]}"
    rates.set_ylabel(f"{validated} [%]")
    rates.set_xlabel("epoch")
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    rates.axhline(100 * chance, color=GREY, linestyle=":", linewidth=1)
    rates.annotate("chance", (1, 100 * chance), xycoords=("axes fraction", "data"), ha="right", va="top", color=GREY)
    for axes in (losses, rates):
        if epochs:
            axes.axvline(epochs, color=GREEN, linewidth=1.2, linestyle="--", label="chosen epoch")
    if folds:
        handles, names = losses.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8, handlelength=1.2)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_folds(
    axes: Axes, curves: Sequence[tuple[Sequence[float], Sequence[float]]], scale: float, mean: bool
) -> None:
    _tidy(axes)
    for index, (name, colour) in enumerate([("training", ORANGE), ("validation", BLUE)]):
        folds = scale * np.array([pair[index] for pair in curves], dtype=float)
        for fold in folds:
            thin = None if mean else name
            axes.plot(range(1, len(fold) + 1), fold, color=colour, linewidth=0.8, alpha=0.5, label=thin)
            name = "_" + name if not mean else name
        if mean:
            axes.plot(
                range(1, folds.shape[1] + 1), folds.mean(axis=0), color=colour, linewidth=2.2, label=f"{name}, mean"
            )


def comparison_figure(
    labels: Sequence[str],
    folds: Sequence[Sequence[float]],
    means: Sequence[float],
    winner: int,
    metric: str,
    chance: float,
) -> Figure:
    """A row per candidate: a dot per fold, a bar at the mean (nan: incomplete), the winner (-1: none) in green."""
    figure = Figure(figsize=(WIDTH, 1.5 + 0.42 * len(labels)), layout="constrained")
    axes = figure.subplots()
    _tidy(axes, "x")
    for row, (values, mean) in enumerate(zip(folds, means, strict=True)):
        colour = GREEN if row == winner else BLUE
        axes.plot(100 * np.array(values), [row] * len(values), "o", color=colour, alpha=0.55, markersize=6, zorder=2)
        if math.isfinite(mean):
            axes.plot([100 * mean] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=3, zorder=3)
            axes.annotate(f"{mean:.1%}", (100 * mean, row - 0.32), ha="center", va="bottom", fontsize=9, color=colour)
    chosen = [f"{label} (chosen)" if row == winner else label for row, label in enumerate(labels)]
    axes.set_yticks(range(len(labels)), chosen)
    axes.set_ylim(len(labels) - 0.5, -0.75)
    _draw_chance(axes, chance)
    axes.set_xlabel(f"validation {METRIC_NAMES[metric]} [%]")
    figure.suptitle(f"Candidates by validation {METRIC_NAMES[metric]}", fontsize=11)
    return figure


def confusion_figure(confusion: Sequence[Sequence[int]] | npt.NDArray[Any], emotions: Sequence[str]) -> Figure:
    """The confusion matrix [emotions, emotions], truth in rows: counts, and percent of the row as colour and text."""
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*counts.shape):
        ink = "white" if percent[row, column] > 55 else "black"
        text = f"{counts[row, column]}\n{percent[row, column]:.0f}%" if counts[row, column] else "0"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(emotions)), emotions, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(emotions)), [f"{name} ({n})" for name, n in zip(emotions, totals[:, 0], strict=True)])
    axes.set_xlabel("predicted emotion")
    axes.set_ylabel("true emotion (clips)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle(
        f"Confusion matrix of the {counts.sum()} test clips:\nclips, and percent of the true emotion's clips",
        fontsize=11,
    )
    return figure


def scores_figure(title: str, rows: Rows, names: Mapping[str, str], chances: Mapping[str, float], unit: str) -> Figure:
    """A row per corpus or emotion: a mark for each of three scores [0..1], a tick where guessing lies (`unit`: how)."""
    figure = Figure(figsize=(WIDTH, 1.7 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    _tidy(axes, "x")
    places = np.arange(len(rows))
    for (score, name), colour, marker, shift in zip(
        names.items(), (BLUE, ORANGE, PURPLE), "osD", (-0.16, 0, 0.16), strict=True
    ):
        values = 100 * np.array([row[score] for row in rows.values()], dtype=float)
        axes.plot(values, places + shift, marker, color=colour, markersize=6, label=name)
    levels = [100 * chances[name] for name in rows]
    axes.plot(levels, range(len(rows)), "|", color="black", markersize=14, markeredgewidth=1.6, label=unit)
    axes.set_yticks(range(len(rows)), [f"{name} ({values['n']:.0f})" for name, values in rows.items()])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("score on the test clips [%]; number of clips in brackets")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def network_figure(layers: Sequence[tuple[str, Sequence[int], int]], n_inputs: Sequence[int]) -> Figure:
    """The layers (name, output without the batch, parameters) downwards, the wider the larger the output."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * (len(layers) + 1)), layout="constrained")
    axes = figure.subplots()
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
    figure.suptitle(f"The network: {sum(layer[2] for layer in layers):,} parameters", fontsize=11)
    return figure


def _draw_chance(axes: Axes, chance: float) -> None:
    axes.axvline(100 * chance, color=GREY, linestyle=":", linewidth=1)
    axes.annotate(" chance", (100 * chance, 0), xycoords=("data", "axes fraction"), color=GREY, va="bottom", fontsize=9)


def _tidy(axes: Axes, grid: Any = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def to_pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """The figure as pixels [height, width, 4]."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def save(figure: Figure, path: Path) -> bytes:
    """Write the figure to `path` as PNG, atomically, and return the file's bytes."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=DPI))
    return path.read_bytes()
