"""The search space: every candidate's way through its hyperparameters to its score, and what mattered."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ser_tune.candidates import shown
from ser_tune.config import Value
from ser_tune.figures.canvas import BLUE, GREEN, SHADES, WIDTH, new_figure, tidy
from ser_tune.metrics import METRIC_NAMES

FEW = 6  # so many different numbers are all named at their axis, if none lie
NEAR = 0.05  # of the axis or less from each other
DASHES = (0, (2, 2))


@dataclass(frozen=True)
class Scale:
    """A vertical axis: where each candidate lies [0..1], nan where it has no value, and what is written where."""

    places: list[float]
    ticks: list[tuple[float, str]]


def space_figure(
    hyperparameters: Mapping[str, Sequence[Value | None]],
    logarithmic: Collection[str],
    scores: Sequence[float],
    complete: Sequence[bool],
    winner: int,
    metric: str,
) -> Figure:
    """An axis per hyperparameter (a value per candidate, None: it has none), one for the score; a line per candidate.

    `scores` [0..1] are of all folds for complete candidates, else of those that ran; the winner (-1: none) is marked.
    """
    scales = [scale(values, name in logarithmic) for name, values in hyperparameters.items()]
    scored = scale([None if math.isnan(score) else 100 * score for score in scores], False)
    figure, axes = new_figure(max(WIDTH, 0.75 * (len(scales) + 1)), 4.8, "Candidates by their hyperparameters")
    paths = np.array([*(item.places for item in scales), scored.places]).T
    upwards = sorted(range(len(scores)), key=lambda row: (row == winner, np.nan_to_num(scores[row], nan=-1)))
    for place, row in enumerate(upwards, start=1):
        axes.plot(paths[row], **_style(place / len(scores), complete[row], row == winner))
    for column, item in enumerate([*scales, scored]):
        axes.axvline(column, color="black", linewidth=0.8, zorder=3)
        _write_ticks(axes, column, item)
    titles = [f"{name}\n(log)" if name in logarithmic else name for name in hyperparameters]
    axes.set_xticks(range(len(titles) + 1), [*titles, f"validation\n{METRIC_NAMES[metric]} [%]"], fontsize=8.5)
    if max(map(len, hyperparameters)) > 9:
        axes.tick_params(axis="x", rotation=25)
    axes.set_xlim(-0.15, len(scales) + 0.55)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _explain(figure, winner >= 0, not all(complete))
    return figure


def scale(values: Sequence[Value | None], log: bool) -> Scale:
    """Words evenly spread, numbers in proportion, or by their logarithm."""
    given = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in given):
        words = sorted({str(value) for value in given})
        at = {word: (index + 0.5) / len(words) for index, word in enumerate(words)}
        return Scale([math.nan if value is None else at[str(value)] for value in values], [(at[w], w) for w in words])
    numbers = [float(value) for value in given] or [0.0, 1.0]
    low, high = min(numbers), max(numbers)

    def place(number: float) -> float:
        if low == high:
            return 0.5
        return math.log(number / low) / math.log(high / low) if log else (number - low) / (high - low)

    listed = sorted(set(numbers))
    apart = np.diff([place(number) for number in listed]).min(initial=1) >= NEAR
    ticks = listed if len(listed) <= FEW and apart else _round_numbers(low, high, log)
    places = [math.nan if value is None else place(float(value)) for value in values]
    return Scale(places, [(place(number), f"{number:.6g}") for number in ticks])


def _round_numbers(low: float, high: float, log: bool) -> list[float]:
    """Some round numbers from low to high: 1, 2 and 5 of every decade, or of equal distances."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        mantissas = (1, 2, 5) if len(decades) <= 4 else (1,)
        marks = [float(f"{mantissa}e{decade}") for decade in decades for mantissa in mantissas]
    else:
        marks = [float(mark) for mark in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)]
    return [mark for mark in marks if low <= mark <= high]


def _style(shade: float, is_complete: bool, is_winner: bool) -> dict[str, Any]:
    if is_winner:
        return {"color": GREEN, "linewidth": 2.6, "zorder": 2.5}
    if not is_complete:
        return {"color": SHADES(shade), "linewidth": 0.9, "linestyle": DASHES, "zorder": 1}
    return {"color": SHADES(shade), "linewidth": 1.3, "zorder": 2}


def _write_ticks(axes: Axes, column: int, item: Scale) -> None:
    paper = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
    for place, text in item.ticks:
        axes.plot([column - 0.03, column + 0.03], [place, place], color="black", linewidth=0.8, zorder=3)
        axes.text(column + 0.06, place, text, va="center", fontsize=7.5, bbox=paper, zorder=4)


def _explain(figure: Figure, chosen: bool, cut_short: bool) -> None:
    lines = [("chosen", GREEN, 2.6)] * chosen + [("complete", BLUE, 1.3)]
    handles = [Line2D([], [], color=colour, linewidth=width, label=text) for text, colour, width in lines]
    if cut_short:
        label = "not complete: score of the folds it ran on"
        handles.append(Line2D([], [], color=BLUE, linewidth=0.9, linestyle=DASHES, label=label))
    title = "a line is a candidate, the darker the higher its score"
    figure.legend(
        handles=handles, title=title, loc="outside lower center", ncols=3, frameon=False, fontsize=8, title_fontsize=8
    )


def importance_figure(importances: Mapping[str, float], metric: str) -> Figure:
    """A bar per hyperparameter, its share [0..1] written behind it."""
    title = f"Importance of hyperparameters for validation {METRIC_NAMES[metric]}"
    figure, axes = new_figure(WIDTH, 1.1 + 0.3 * len(importances), title)
    tidy(axes, "x")
    shares = [100 * share for share in importances.values()]
    axes.barh(range(len(shares)), shares, color=BLUE, height=0.6)
    for row, share in enumerate(shares):
        axes.text(share + 1, row, f"{shown(round(share))}%", va="center", fontsize=9)
    axes.set_yticks(range(len(shares)), list(importances))
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0, 108)
    axes.set_xlabel("share of the score's variance [%]")
    return figure
