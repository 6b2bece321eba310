"""Candidates by their scores: the learning curves of one, the comparison of all."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_tune.experiment import TrialResult
from ser_tune.figures.canvas import BLUE, GREEN, GREY, ORANGE, WIDTH, new_figure, tidy
from ser_tune.metrics import METRIC_NAMES

MANY = 12  # rows; more of them are drawn closer together


def curves_figure(
    title: str, folds: Sequence[TrialResult], metric: str, epochs: int, loss_limit: float, chance: float
) -> Figure:
    """Loss above, scores below, over the epochs: a thin line per fold, a thick one for their mean.

    The mean is drawn for a complete candidate, which `epochs` above 0, its chosen epoch, tells. Loss is
    shown up to `loss_limit`, `chance` [0..1] is drawn among the scores.
    """
    figure = Figure(figsize=(4.3, 5.2))
    figure.subplots_adjust(left=0.19, right=0.98, bottom=0.155, top=0.93, hspace=0.12)  # the same for all candidates
    figure.suptitle(title, fontsize=11, y=0.985)
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
    word = rates.annotate("chance", (0.99, 100 * chance - 1), xycoords=("axes fraction", "data"), color=GREY)
    word.set(ha="right", va="top", bbox={"color": "white", "pad": 0.5})  # the line of the chosen epoch passes behind it
    for axes in (losses, rates):
        if epochs:
            axes.axvline(epochs, color=GREEN, linewidth=1.2, linestyle="--", label="chosen epoch")
    if folds:
        handles, names = losses.get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=3, frameon=False, fontsize=8, handlelength=1.2)
    return figure


def _draw_folds(
    axes: Axes, curves: Sequence[tuple[Sequence[float], Sequence[float]]], scale: float, mean: bool
) -> None:
    tidy(axes)
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
    names: Sequence[str],
    folds: Sequence[Sequence[float]],
    intervals: Sequence[tuple[float, float, float]],
    winner: int,
    metric: str,
    chance: float,
) -> Figure:
    """A row per candidate: a dot per fold, a bar at the mean, a line over its interval; the winner (-1: none) in green.

    `intervals` are the means with the ends of their intervals, nan for an incomplete candidate.
    """
    many = len(names) > MANY
    title = f"Candidates by validation {METRIC_NAMES[metric]}"
    figure, axes = new_figure(WIDTH, 1.5 + (0.26 if many else 0.42) * len(names), title)
    tidy(axes, "x")
    for row, (values, (mean, low, high)) in enumerate(zip(folds, intervals, strict=True)):
        colour = GREEN if row == winner else BLUE
        axes.plot(100 * np.array(values), [row] * len(values), "o", color=colour, alpha=0.5, markersize=5, zorder=3)
        if math.isfinite(mean):
            axes.plot(100 * np.clip([low, high], 0, 1), [row, row], color=colour, linewidth=1, alpha=0.8, zorder=2)
            axes.plot([100 * mean] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=3, zorder=4)
            if not many:
                place = (100 * mean, row - 0.32)
                axes.annotate(f"{mean:.1%}", place, ha="center", va="bottom", fontsize=9, color=colour)
    chosen = [f"{name} (chosen)" if row == winner else name for row, name in enumerate(names)]
    axes.set_yticks(range(len(names)), chosen)
    axes.set_ylim(len(names) - 0.5, -0.75)
    axes.axvline(100 * chance, color=GREY, linestyle=":", linewidth=1)
    axes.annotate(" chance", (100 * chance, 0), xycoords=("data", "axes fraction"), color=GREY, va="bottom", fontsize=9)
    axes.set_xlabel(f"validation {METRIC_NAMES[metric]} [%]")
    return figure
