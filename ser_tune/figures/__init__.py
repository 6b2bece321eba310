"""What people look at, a function per figure: plain values come in, a matplotlib Figure goes out.

Nothing global is touched. Colours are Okabe and Ito's, which colour-blind people can tell apart; scores are
drawn in percent. canvas.py holds what all of them are drawn with.
"""

from ser_tune.figures.candidates import comparison_figure, curves_figure
from ser_tune.figures.canvas import save, to_pixels
from ser_tune.figures.network import network_figure
from ser_tune.figures.race import race_figure
from ser_tune.figures.scores import confusion_figure, scores_figure
from ser_tune.figures.space import importance_figure, space_figure

__all__ = [
    "comparison_figure",
    "confusion_figure",
    "curves_figure",
    "importance_figure",
    "network_figure",
    "race_figure",
    "save",
    "scores_figure",
    "space_figure",
    "to_pixels",
]
