"""The test scores: confusion matrix, scores by corpus or by emotion."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ser_tune.figures.canvas import BLUE, ORANGE, PURPLE, WIDTH, new_figure, tidy

Rows = Mapping[str, Mapping[str, Any]]


def confusion_figure(confusion: Sequence[Sequence[int]] | npt.NDArray[Any], emotions: Sequence[str]) -> Figure:
    """The confusion matrix [emotions, emotions], truth in rows: counts, and percent of the row as colour and text."""
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    title = f"Confusion matrix of the {counts.sum()} test clips:\nclips, and percent of the true emotion's clips"
    figure, axes = new_figure(WIDTH, 5.2, title)
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
    return figure


def scores_figure(title: str, rows: Rows, names: Mapping[str, str], chances: Mapping[str, float], unit: str) -> Figure:
    """A row per corpus or emotion: a mark for each of three scores [0..1], a tick where guessing lies (`unit`: how)."""
    figure, axes = new_figure(WIDTH, 1.7 + 0.38 * len(rows), title)
    tidy(axes, "x")
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
    return figure
