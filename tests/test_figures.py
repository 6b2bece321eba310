import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from experiment_fixture import N_EPOCHS, N_FOLDS, NETWORK, make_results
from matplotlib.figure import Figure

from ser_tune import figures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_thick_line_is_the_mean_of_the_folds() -> None:
    folds = make_results()[:N_FOLDS]
    figure = figures.candidate_figure("lr=0.01", folds, "accuracy", epochs=3, loss_limit=3, chance=0.125)
    thick = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines if line.get_linewidth() > 2}
    expected = 100 * np.mean([fold.val_accuracy for fold in folds], axis=0)
    np.testing.assert_allclose(np.asarray(thick["validation, mean"], dtype=float), expected)
    assert len(figure.axes[0].lines) == 2 * N_FOLDS + 2 + 1


def test_an_incomplete_candidate_has_no_mean_line() -> None:
    figure = figures.candidate_figure("lr=0.01", make_results()[:2], "uar", epochs=0, loss_limit=3, chance=0.125)
    assert not [line for axes in figure.axes for line in axes.lines if "mean" in str(line.get_label())]


@pytest.mark.parametrize("n_folds", [0, 1])
def test_curves_without_numbers_or_folds_are_drawn(n_folds: int) -> None:
    diverged = dataclasses.replace(make_results()[0], train_loss=[math.nan] * N_EPOCHS)
    figure = figures.candidate_figure("lr=1", [diverged] * n_folds, "accuracy", 0, 3, 0.125)
    assert figures.to_pixels(figure).std() > 0


def test_the_confusion_matrix_shows_counts_and_row_percentages() -> None:
    figure = figures.confusion_figure([[3, 1, 0], [0, 2, 0], [0, 0, 0]], ["happy", "sad", "calm"])
    assert texts(figure)[:6] == ["3\n75%", "1\n25%", "0", "0", "2\n100%", "0"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["happy (4)", "sad (2)", "calm (0)"]


def test_the_comparison_marks_the_winner_and_leaves_out_a_mean_that_is_none() -> None:
    figure = figures.comparison_figure(["a", "b"], [[0.5, 0.6], [0.4]], [0.55, math.nan], 0, "uar", 0.125)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a (chosen)", "b"]
    assert texts(figure) == ["55.0%", " chance"]


def test_scores_that_do_not_exist_leave_a_gap() -> None:
    rows = {"calm": {"recall": None, "precision": 0.5, "f1": None, "n": 0}}
    names = {"recall": "recall", "precision": "precision", "f1": "F1"}
    figure = figures.scores_figure("by emotion", rows, names, {"calm": 0.0}, "guessing")
    drawn = [float(np.asarray(line.get_xdata(), dtype=float)[0]) for line in figure.axes[0].lines]
    assert math.isnan(drawn[0])
    assert drawn[1] == 50


def test_the_network_figure_adds_up_the_published_parameters() -> None:
    figure = figures.network_figure(NETWORK, (39, 94))
    assert figure.get_suptitle() == "The network: 3,444,488 parameters"
    assert "64 x 9 x 23" in texts(figure)


def test_a_figure_is_saved_as_the_same_bytes_each_time(tmp_path: Path) -> None:
    saved = [figures.save(figures.network_figure(NETWORK, (39, 94)), tmp_path / f"{n}.png") for n in range(2)]
    assert saved[0] == saved[1]
    assert saved[0].startswith(b"\x89PNG")
