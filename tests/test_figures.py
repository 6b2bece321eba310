import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from experiment_fixture import N_EPOCHS, N_FOLDS, NETWORK, make_results
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ser_tune import figures
from ser_tune.config import Value
from ser_tune.figures.space import scale


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_thick_line_is_the_mean_of_the_folds() -> None:
    folds = make_results()[:N_FOLDS]
    figure = figures.curves_figure("lr=0.01", folds, "accuracy", epochs=3, loss_limit=3, chance=0.125)
    thick = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines if line.get_linewidth() > 2}
    expected = 100 * np.mean([fold.val_accuracy for fold in folds], axis=0)
    np.testing.assert_allclose(np.asarray(thick["validation, mean"], dtype=float), expected)
    assert len(figure.axes[0].lines) == 2 * N_FOLDS + 2 + 1


def test_an_incomplete_candidate_has_no_mean_line() -> None:
    figure = figures.curves_figure("lr=0.01", make_results()[:2], "uar", epochs=0, loss_limit=3, chance=0.125)
    assert not [line for axes in figure.axes for line in axes.lines if "mean" in str(line.get_label())]


@pytest.mark.parametrize("n_folds", [0, 1])
def test_curves_without_numbers_or_folds_are_drawn(n_folds: int) -> None:
    diverged = dataclasses.replace(make_results()[0], train_loss=[math.nan] * N_EPOCHS)
    figure = figures.curves_figure("lr=1", [diverged] * n_folds, "accuracy", 0, 3, 0.125)
    assert figures.to_pixels(figure).std() > 0


def test_the_confusion_matrix_shows_counts_and_row_percentages() -> None:
    figure = figures.confusion_figure([[3, 1, 0], [0, 2, 0], [0, 0, 0]], ["happy", "sad", "calm"])
    assert texts(figure)[:6] == ["3\n75%", "1\n25%", "0", "0", "2\n100%", "0"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["happy (4)", "sad (2)", "calm (0)"]


def test_the_comparison_marks_the_winner_and_leaves_out_a_mean_that_is_none() -> None:
    intervals = [(0.55, 0.4, 0.7), (math.nan, math.nan, math.nan)]
    figure = figures.comparison_figure(["a", "b"], [[0.5, 0.6], [0.4]], intervals, 0, "uar", 0.125)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a (chosen)", "b"]
    assert texts(figure) == ["55.0%", " chance"]


def test_intervals_are_drawn_within_what_a_score_can_be() -> None:
    figure = figures.comparison_figure(["a"], [[0.1, 0.3]], [(0.2, -0.3, 0.7)], 0, "accuracy", 0.125)
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() == 1 and line.get_linestyle() == "-"]
    np.testing.assert_allclose(np.asarray(thin[0].get_xdata(), dtype=float), [0, 70])


def race(n_repeats: int = 1) -> Figure:
    scores = np.array([[0.6, 0.7, 0.65, 0.61], [0.5, math.nan, math.nan, math.nan]])
    fates = ["mean 64.0%", "dropped, 10.0 points below a"]
    return figures.race_figure(["a", "b"], scores, fates, 4 // n_repeats, 0, "accuracy")


def test_the_race_has_a_cell_for_every_trial_and_each_fate_stands_behind_its_last_one() -> None:
    axes = race().axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert [text for text in places if text.isdigit()] == ["60", "70", "65", "61", "50"]
    assert np.ma.asarray(axes.collections[0].get_array()).count() == 5
    assert 4 < places["mean 64.0%"][0] < 4.5
    assert 1 < places["dropped, 10.0 points below a"][0] < 1.5


def test_the_race_tells_folds_of_repeats_apart() -> None:
    axes = race(n_repeats=2).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "0", "1"]
    assert "repeats 0 to 1" in axes.get_xlabel()


def test_words_are_evenly_spread_and_named() -> None:
    drawn = scale(["sgd", "adam", None, "adam"], False)
    assert drawn.ticks == [(0.25, "adam"), (0.75, "sgd")]
    assert drawn.places[:2] == [0.75, 0.25]
    assert math.isnan(drawn.places[2])


@pytest.mark.parametrize(("log", "middle"), [(True, 0.5), (False, 0.009 / 0.099)])
def test_numbers_lie_in_proportion_or_by_their_logarithm(log: bool, middle: float) -> None:
    assert scale([0.001, 0.1, 0.01], log).places == pytest.approx([0, 1, middle])


def test_few_numbers_are_all_named_and_many_get_round_ones() -> None:
    assert [text for _, text in scale([0.01, 0.005, 0.001], True).ticks] == ["0.001", "0.005", "0.01"]
    drawn = scale([float(number) for number in np.linspace(0.11, 0.49, 30)], False)
    assert [text for _, text in drawn.ticks] == ["0.2", "0.3", "0.4"]
    drawn = scale([float(number) for number in np.geomspace(0.00011, 0.0092, 30)], True)
    assert [text for _, text in drawn.ticks] == ["0.0002", "0.0005", "0.001", "0.002", "0.005"]


def test_numbers_that_would_be_written_over_each_other_are_not_named() -> None:
    assert [text for _, text in scale([0.5, 0.501, 1.0], False).ticks] == ["0.5", "0.6", "0.7", "0.8", "0.9", "1"]


def test_a_number_that_all_share_lies_in_the_middle() -> None:
    assert scale([2, 2], False).places == [0.5, 0.5]


def space(n: int) -> Figure:
    random = np.random.default_rng(0)
    values: dict[str, list[Value | None]] = {
        "lr": [float(value) for value in random.uniform(1e-4, 1e-2, n)],
        "optimizer": [("adam", "sgd")[row % 2] for row in range(n)],
    }
    scores = [float(value) for value in random.uniform(0.2, 0.7, n)]
    return figures.space_figure(values, ["lr"], scores, [row < 3 for row in range(n)], 2, "accuracy")


def test_every_candidate_is_a_line_and_the_winner_is_drawn_thickest_above_all_others() -> None:
    lines = [line for line in space(12).axes[0].lines if len(np.asarray(line.get_xdata())) == 3]
    assert len(lines) == 12
    widths = [line.get_linewidth() for line in lines]
    assert widths.index(max(widths)) == 11
    assert lines[11].get_zorder() > max(line.get_zorder() for line in lines[:11])
    assert sum(line.get_linestyle() == "--" for line in lines) == 9


def test_the_axes_of_the_space_are_named_with_their_kind() -> None:
    names = [tick.get_text() for tick in space(4).axes[0].get_xticklabels()]
    assert names == ["lr\n(log)", "optimizer", "validation\naccuracy [%]"]


def test_importances_are_bars_in_percent() -> None:
    figure = figures.importance_figure({"lr": 0.9512, "dropout": 0.0488}, "uar")
    axes = figure.axes[0]
    assert texts(figure) == ["95%", "5%"]
    bars = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert bars == pytest.approx([95.12, 4.88])


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
