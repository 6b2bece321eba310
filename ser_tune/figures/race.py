"""The race: which candidates ran on which folds, and where each was dropped."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ser_tune.figures.canvas import GREEN, ORANGE, SHADES, WIDTH, new_figure
from ser_tune.metrics import METRIC_NAMES

MOST_NUMBERS = 12  # folds; with more of them the cells are too narrow for numbers


def race_figure(
    names: Sequence[str],
    scores: npt.NDArray[np.float64],
    fates: Sequence[str],
    n_folds: int,
    winner: int,
    metric: str,
) -> Figure:
    """A row per candidate, a cell per fold it ran on, its fate behind its last cell; the winner (-1: none) in green.

    `scores` [candidates, folds of all repeats] are shares [0..1], nan where it did not run.
    """
    figure, axes = new_figure(WIDTH, 1.9 + 0.2 * len(names), "Which candidates ran on which folds")
    percent = np.ma.masked_invalid(100 * scores)
    norm = Normalize(*_ends(percent))
    shades = ScalarMappable(norm, SHADES)
    axes.pcolormesh(percent, cmap=SHADES, norm=norm, edgecolors="white", linewidth=0.8)
    if scores.shape[1] <= MOST_NUMBERS:
        _write_numbers(axes, percent, shades)
    for row, fate in enumerate(fates):
        ran = np.flatnonzero(np.isfinite(scores[row]))
        colour = GREEN if row == winner else "black" if len(ran) == scores.shape[1] else ORANGE
        end = ran[-1] + 1.1 if len(ran) else 0.1
        axes.text(end, row + 0.5, fate, va="center", fontsize=7.5, color=colour)
    _name_rows_and_columns(axes, names, n_folds, scores.shape[1] // n_folds, winner)
    for repeat in range(1, scores.shape[1] // n_folds):
        reached = np.flatnonzero(np.isfinite(scores[:, n_folds * repeat]))
        axes.vlines(n_folds * repeat, 0, reached.max(initial=0) + 1, color="black", linewidth=1.5)
    label = f"validation {METRIC_NAMES[metric]} on the fold [%]"
    bar = figure.colorbar(shades, ax=axes, orientation="horizontal", label=label, aspect=40, fraction=0.03, pad=0.01)
    bar.outline.set_visible(False)
    return figure


def _ends(percent: np.ma.MaskedArray) -> tuple[float, float]:
    return (float(percent.min()), float(percent.max())) if percent.count() else (0.0, 100.0)


def _write_numbers(axes: Axes, percent: np.ma.MaskedArray, shades: ScalarMappable) -> None:
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(percent)), strict=True):
        red, green, blue, _ = shades.to_rgba(percent[row, column])
        ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else "white"
        axes.text(
            column + 0.5, row + 0.5, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=7, color=ink
        )


def _name_rows_and_columns(axes: Axes, names: Sequence[str], n_folds: int, n_repeats: int, winner: int) -> None:
    n_columns = n_folds * n_repeats
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8)
    if winner >= 0:
        axes.get_yticklabels()[winner].set(color=GREEN, fontweight="bold")
    axes.set_xticks(np.arange(n_columns) + 0.5, [str(column % n_folds) for column in range(n_columns)], fontsize=8)
    axes.xaxis.set_ticks_position("top")
    axes.set_xlabel("fold", loc="left")
    axes.xaxis.set_label_position("top")
    if n_repeats > 1:
        axes.set_xlabel(f"fold, of repeats 0 to {n_repeats - 1} one after the other", loc="left")
    axes.set_xlim(0, n_columns)
    axes.set_ylim(len(names), 0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
