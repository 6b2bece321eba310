import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from ser_tune.race import Curve, best_epoch, find_hopeless, list_blocks, residual_variance

BLOCKS = list_blocks(4, 1)


def table(**rows: list[float]) -> dict[str, dict[tuple[int, int], Curve]]:
    """Scores of one epoch by candidate and fold."""
    return {name: {(fold, 0): [score] for fold, score in enumerate(scores)} for name, scores in rows.items()}


def test_blocks_are_all_folds_then_all_folds_of_the_next_repeat() -> None:
    assert list_blocks(2, 2) == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_nobody_is_judged_before_a_candidate_is_complete() -> None:
    assert find_hopeless(table(a=[0.9, 0.9, 0.9], b=[0.1, 0.1]), BLOCKS, 0.05) == {}


def test_a_candidate_far_below_is_dropped_and_one_nearby_is_not() -> None:
    scores = table(best=[0.60, 0.70, 0.65, 0.62], other=[0.58, 0.69, 0.62, 0.61], far=[0.20], near=[0.59])
    found = find_hopeless(scores, BLOCKS, 0.01)
    assert set(found) == {"far"}
    assert found["far"].against == "best"
    assert found["far"].folds_done == 1
    assert found["far"].difference == pytest.approx(-0.4)
    assert "40.0 points below candidate best on 1 fold" in found["far"].reason


def test_the_bound_is_the_upper_end_of_the_prediction_worked_out_by_hand() -> None:
    scores = table(best=[0.60, 0.70, 0.65, 0.62], other=[0.58, 0.69, 0.62, 0.61], far=[0.20, 0.28])
    full = np.array([[0.60, 0.70, 0.65, 0.62], [0.58, 0.69, 0.62, 0.61], [0.20, 0.28, np.nan, np.nan]])
    # The additive model by ordinary least squares on dummy variables: an intercept, 2 candidates, 3 folds.
    rows, columns = np.nonzero(np.isfinite(full))
    dummies = np.column_stack([np.ones(len(rows)), *(rows == r for r in (1, 2)), *(columns == c for c in (1, 2, 3))])
    _, rest, _, _ = np.linalg.lstsq(dummies.astype(float), full[rows, columns], rcond=None)
    freedom = len(rows) - 6
    variance, found_freedom = residual_variance(full)
    assert variance == pytest.approx(rest.item() / freedom, rel=1e-6)
    assert found_freedom == freedom
    difference = (0.20 + 0.28 - 0.60 - 0.70) / 2
    spread = np.sqrt(2 * rest.item() / freedom * (1 / 2 - 1 / 4))
    found = find_hopeless(scores, BLOCKS, 0.05)["far"]
    assert found.difference == pytest.approx(difference)
    assert found.highest == pytest.approx(difference + t.ppf(0.95, freedom) * spread, rel=1e-6)


def test_scores_are_taken_at_the_epoch_where_the_mean_of_the_folds_done_is_highest() -> None:
    assert best_epoch(np.array([[0.1, 0.6, 0.2, 0.4], [0.3, 0.2, 0.6, 0.4]])) == 1
    curves = {
        "a": {(0, 0): [0.5, 0.6], (1, 0): [0.5, 0.6]},
        "b": {(0, 0): [0.7, 0.5], (1, 0): [0.4, 0.5]},  # the mean curve is highest at the first epoch
        "c": {(0, 0): [0.1, 0.2]},
    }
    assert find_hopeless(curves, list_blocks(2, 1), 0.4)["c"].difference == pytest.approx(0.2 - 0.6)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=2, max_size=6),
    st.integers(1, 3),
    st.floats(0.001, 0.4),
)
def test_a_laxer_level_drops_more_and_the_leader_so_far_is_never_dropped(
    rows: list[list[float]], n_done: int, level: float
) -> None:
    scores = table(**{str(number): row for number, row in enumerate(rows)})
    for name in list(scores)[1:]:
        scores[name] = {block: scores[name][block] for block in BLOCKS[:n_done]}
    strict, lax = find_hopeless(scores, BLOCKS, level), find_hopeless(scores, BLOCKS, min(0.49, level * 2))
    assert strict.keys() <= lax.keys()
    for name, drop in lax.items():
        assert name != "0"
        assert drop.highest < 0
        assert sum(scores[name][block][0] for block in scores[name]) < sum(rows[0][:n_done])
