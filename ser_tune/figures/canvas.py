"""Colours, sizes and axes that the figures share; a figure -> pixels or a PNG file."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ser_tune.files import write_atomically

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676"
SHADES = LinearSegmentedColormap.from_list("shades", ["#D6E9F5", BLUE, "#002B45"])  # the higher the darker
WIDTH = 5.2  # inches; narrow, so that words can still be read at a phone's width
DPI = 160


def new_figure(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A titled figure of this size [inches] and its axes, which leave room for what is written beside them."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure, figure.subplots()


def tidy(axes: Axes, grid: Any = "y") -> None:
    """Leave away what says nothing, and draw a faint grid behind the rest."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def to_pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """The figure as pixels [height, width, 4]."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def save(figure: Figure, path: Path, dpi: int = DPI) -> bytes:
    """Write the figure to `path` as PNG, atomically, and return the file's bytes."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=dpi))
    return path.read_bytes()
