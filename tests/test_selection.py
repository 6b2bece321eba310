import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tune.candidates import Candidate, list_grid, make_candidate, refit_seed, trial_seed
from ser_tune.config import SpaceConfig
from ser_tune.errors import RunError
from ser_tune.experiment import TrialKey, TrialResult
from ser_tune.race import list_blocks
from ser_tune.selection import choose, diagnose, index_results, summarise_candidates

Curves = dict[TrialKey, TrialResult]


def result(candidate: str, fold: int, val: list[float], train: list[float] | None = None, **more: Any) -> TrialResult:
    n = len(val)
    values: dict[str, Any] = {
        "candidate": candidate, "fold": fold, "repeat": 0, "seed": trial_seed(0, fold), "hyperparameters": {"lr": 0.1},
        "epochs": n, "train_loss": [1.0] * n, "train_accuracy": train or val, "val_loss": [1.0] * n,
        "val_accuracy": val, "val_uar": [v / 2 for v in val], "val_macro_f1": val, "initial_weights_sha256": "w",
        "precision": "float32", "seconds": 1.0, "node": "n", "device": "cpu", "data_fingerprint": "d",
    }  # fmt: skip
    return TrialResult(**values | more)


A, B, C = (Candidate(name, {"lr": lr}) for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.3)))


def table(curves: dict[str, list[list[float]]]) -> Curves:
    return {
        (name, fold, 0): result(name, fold, curve) for name, folds in curves.items() for fold, curve in enumerate(folds)
    }


def test_the_epoch_is_the_first_maximum_of_the_mean_curve() -> None:
    results = table({"a": [[0.1, 0.6, 0.2, 0.4], [0.3, 0.2, 0.6, 0.4]]})
    (summary,) = summarise_candidates([A], results, list_blocks(2, 1), "accuracy", 0.2)
    assert summary.epochs == 2  # means 0.2 0.4 0.4 0.4; best epochs of the folds alone would be 2 and 3
    assert summary.mean == pytest.approx(0.4)
    assert summary.sd == pytest.approx(np.std([0.6, 0.2], ddof=1))


@given(
    st.lists(
        st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=4, max_size=4), min_size=1, max_size=5
    )
)
def test_the_choice_is_what_a_plain_loop_finds(curves: list[list[list[float]]]) -> None:
    candidates = [Candidate(str(number), {"lr": number + 1.0}) for number in range(len(curves))]
    results = table({str(number): folds for number, folds in enumerate(curves)})
    best, best_mean, best_epoch = None, -1.0, 0
    for number, folds in enumerate(curves):
        for epoch in range(3):
            mean = float(np.mean([fold[epoch] for fold in folds]))
            if mean > best_mean:
                best, best_mean, best_epoch = number, mean, epoch + 1
    choice = choose(summarise_candidates(candidates, results, list_blocks(4, 1), "accuracy", 0.2))
    assert choice.mean == pytest.approx(best_mean, abs=1e-12)
    assert (choice.candidate.id, choice.epochs) == (str(best), best_epoch)


def test_an_incomplete_candidate_cannot_win_however_good_its_folds() -> None:
    results = table({"a": [[0.5], [0.5]], "b": [[0.99]]})
    summaries = summarise_candidates([A, B], results, list_blocks(2, 1), "accuracy", 0.2)
    assert [summary.status for summary in summaries] == ["complete", "incomplete"]
    assert math.isnan(summaries[1].mean)
    assert choose(summaries).candidate == A


def test_a_fold_without_a_finite_score_makes_its_candidate_incomplete() -> None:
    results = table({"a": [[0.5], [0.5]], "b": [[0.9], [math.nan]]})
    assert choose(summarise_candidates([B, A], results, list_blocks(2, 1), "accuracy", 0.2)).candidate == A


def test_no_complete_candidate_is_an_error() -> None:
    with pytest.raises(RunError, match="no candidate has a finite score on every fold"):
        choose(summarise_candidates([A], {}, list_blocks(2, 1), "accuracy", 0.2))


def test_ties_go_to_the_candidate_listed_earlier() -> None:
    results = table({"a": [[0.5], [0.5]], "b": [[0.4], [0.6]]})
    assert choose(summarise_candidates([B, A], results, list_blocks(2, 1), "accuracy", 0.2)).candidate == B
    assert choose(summarise_candidates([A, B], results, list_blocks(2, 1), "accuracy", 0.2)).candidate == A


def test_equal_scores_in_another_order_of_folds_are_a_tie_though_their_sums_differ_in_the_last_bit() -> None:
    results = table({"a": [[0.3], [0.2], [0.1]], "b": [[0.1], [0.2], [0.3]]})
    assert sum([0.3, 0.2, 0.1]) < sum([0.1, 0.2, 0.3])
    for candidates in ([A, B], [B, A]):
        summaries = summarise_candidates(candidates, results, list_blocks(3, 1), "accuracy", 0.2)
        assert choose(summaries).candidate == candidates[0]


def test_the_metric_decides() -> None:
    results = table({"a": [[0.5], [0.5]]}) | {
        ("b", fold, 0): result("b", fold, [0.4], val_uar=[0.4]) for fold in range(2)
    }
    assert choose(summarise_candidates([A, B], results, list_blocks(2, 1), "accuracy", 0.2)).candidate == A
    uar = summarise_candidates([A, B], results, list_blocks(2, 1), "uar", 0.2)
    assert choose(uar).candidate == B
    assert choose(uar).mean == pytest.approx(0.4)


def test_trials_of_other_data_seeds_or_lengths_do_not_count_and_doubles_count_once() -> None:
    seeds = {(0, 0): trial_seed(0, 0), (1, 0): trial_seed(0, 1)}
    good, double = result("a", 0, [0.1, 0.2]), result("a", 0, [0.3, 0.4])
    others = [
        result("a", 1, [0.1, 0.2], data_fingerprint="other"),
        result("a", 1, [0.1, 0.2], seed=7),
        result("a", 1, [0.1]),
        result("a", 1, [0.1], epochs=2),
        result("a", 2, [0.1, 0.2]),
    ]
    assert index_results([*others, good, double], seeds, 2, "d") == {("a", 0, 0): good}


@pytest.mark.parametrize(
    ("train", "val", "loss", "expected"),
    [
        ([0.2, 0.5, 0.8, 0.95], [0.2, 0.4, 0.5, 0.5], 1.0, "overfitting"),
        ([0.2, 0.3, 0.4, 0.45], [0.2, 0.3, 0.4, 0.44], 1.0, "underfitting"),
        ([0.3, 0.5, 0.65, 0.7], [0.3, 0.5, 0.6, 0.69], 1.0, "underfitting"),
        ([0.6, 0.7, 0.7, 0.7], [0.65, 0.66, 0.66, 0.66], 1.0, "fine"),
        ([0.15, 0.16, 0.15, 0.16], [0.16, 0.16, 0.16, 0.16], 1.0, "collapsed"),
        ([0.6, 0.7, 0.7, 0.7], [0.65, 0.66, 0.66, 0.66], math.nan, "collapsed"),
    ],
)
def test_the_written_rule_diagnoses_curves(train: list[float], val: list[float], loss: float, expected: str) -> None:
    folds = [result("a", fold, val, train, train_loss=[loss] * 4) for fold in range(3)]
    assert diagnose(folds, 0.16) == expected


def test_a_candidate_is_the_same_in_every_space_and_others_differ() -> None:
    first = list_grid(SpaceConfig(lr=(0.01, 0.001)))
    assert first[1] == list_grid(SpaceConfig(lr=(0.001,)))[0] == make_candidate({"lr": 0.001})
    assert len({candidate.id for candidate in list_grid(SpaceConfig())}) == 4


def test_seeds_depend_on_base_seed_fold_and_repeat_only() -> None:
    seeds = {trial_seed(base, fold, repeat) for base in (0, 1) for fold in range(4) for repeat in range(2)}
    assert len(seeds | {refit_seed(0), refit_seed(1)}) == 18
