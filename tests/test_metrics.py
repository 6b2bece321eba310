import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from ser_tune.metrics import accuracy, confusion_matrix, intervals, macro_f1, resampling_units, scores, uar

N_CLASSES = 5
PAIRS = st.lists(st.tuples(st.integers(0, N_CLASSES - 1), st.integers(0, N_CLASSES - 1)), min_size=1, max_size=60)
Pairs = list[tuple[int, int]]
NAMES = ("accuracy", "uar", "macro_f1")


def _recordings(n_speakers: int, n_clips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, prediction and speaker of clips, where some speakers are understood better than others."""
    random = np.random.default_rng(3)
    speakers = np.repeat(np.arange(n_speakers), n_clips)
    truth = random.integers(0, N_CLASSES, n_speakers * n_clips)
    understood = random.random(len(truth)) < np.linspace(0.2, 0.9, n_speakers)[speakers]
    return truth, np.where(understood, truth, random.integers(0, N_CLASSES, len(truth))), speakers


@given(PAIRS)
def test_confusion_and_scores_equal_those_of_scikit_learn(pairs: Pairs) -> None:
    truth, predicted = np.array(pairs).T
    confusion = confusion_matrix(truth, predicted, N_CLASSES)
    np.testing.assert_array_equal(confusion, sklearn_confusion_matrix(truth, predicted, labels=list(range(N_CLASSES))))
    found = scores(confusion)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where a predicted class is not in the truth
        assert found.uar == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert found.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


@given(st.lists(PAIRS, min_size=1, max_size=4))
def test_many_matrices_at_once_score_as_one_by_one(lists: list[Pairs]) -> None:
    matrices = [confusion_matrix(np.array(pairs)[:, 0], np.array(pairs)[:, 1], N_CLASSES) for pairs in lists]
    together = scores(np.array(matrices)[:, None])
    for name in NAMES:
        one_by_one = [[getattr(scores(matrix), name)] for matrix in matrices]
        np.testing.assert_allclose(getattr(together, name), one_by_one)


def test_scores_of_one_matrix_are_plain_numbers() -> None:
    found = scores(np.array([[3, 1], [2, 2]]))
    assert [type(getattr(found, name)) for name in NAMES] == [float, float, float]
    assert (found.accuracy, found.uar) == (5 / 8, (3 / 4 + 2 / 4) / 2)


def test_a_matrix_without_clips_scores_nan() -> None:
    for metric in (accuracy, uar, macro_f1):
        assert np.isnan(metric(np.zeros((3, 3), dtype=int)))


def test_a_class_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 to 2"):
        confusion_matrix(np.array([0, 3]), np.array([0, 0]), 3)
    with pytest.raises(ValueError, match="expected 0 to 2"):
        intervals(np.array([0, 1]), np.array([0, -1]), np.array([0, 1]), 3, seed=0)
    with pytest.raises(ValueError, match="2 true classes and 1 predicted"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 3)


@pytest.mark.parametrize("by_clip", [False, True])
def test_intervals_equal_those_of_a_loop_that_draws_whole_groups(by_clip: bool) -> None:
    truth, predicted, groups = _recordings(n_speakers=6, n_clips=20)
    groups = np.arange(len(truth)) if by_clip else groups
    random = np.random.default_rng(17)
    drawn = []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in random.choice(np.unique(groups), groups.max() + 1)])
        resampled = scores(confusion_matrix(truth[rows], predicted[rows], N_CLASSES))
        drawn.append([getattr(resampled, name) for name in NAMES])
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    found = intervals(truth, predicted, groups, N_CLASSES, seed=1, n_resamples=20000)
    # The limits of 1500 draws scatter by about 0.005 themselves.
    np.testing.assert_allclose([found[name] for name in NAMES], expected.T, atol=0.02)


def test_the_interval_of_clips_is_the_binomial_one() -> None:
    n, hits = 2433, 1501  # the published 61.69 %: +-1.9 points
    truth = np.zeros(n, dtype=int)
    predicted = (np.arange(n) >= hits).astype(int)
    low, high = intervals(truth, predicted, np.arange(n), 2, seed=0)["accuracy"]
    assert (high - low) / 2 == pytest.approx(0.0193, abs=0.0015)
    assert (high + low) / 2 == pytest.approx(hits / n, abs=0.002)


def test_unlike_speakers_widen_the_interval() -> None:
    truth, predicted, speakers = _recordings(n_speakers=8, n_clips=100)
    by_speaker = intervals(truth, predicted, speakers, N_CLASSES, seed=0)["accuracy"]
    by_clip = intervals(truth, predicted, np.arange(len(truth)), N_CLASSES, seed=0)["accuracy"]
    assert np.ptp(by_speaker) > 2 * np.ptp(by_clip)


@settings(max_examples=25)
@given(PAIRS.filter(lambda pairs: len(pairs) > 2), st.integers(0, 2**32 - 1))
def test_intervals_are_ordered_bounded_and_deterministic(pairs: Pairs, seed: int) -> None:
    truth, predicted = np.array(pairs).T
    groups = np.arange(len(pairs)) // 2
    found = intervals(truth, predicted, groups, N_CLASSES, seed, n_resamples=50)
    assert found == intervals(truth, predicted, groups, N_CLASSES, seed, n_resamples=50)
    assert all(0 <= low <= high <= 1 for low, high in found.values())


def test_names_and_order_of_groups_do_not_matter_to_the_interval() -> None:
    truth, predicted, speakers = _recordings(n_speakers=6, n_clips=20)
    names = np.array(["f", "e", "d", "c", "b", "a"])[speakers]
    mixed = np.random.default_rng(0).permutation(len(truth))
    assert intervals(truth, predicted, speakers, N_CLASSES, seed=5) == intervals(
        truth[mixed], predicted[mixed], names[mixed], N_CLASSES, seed=5
    )


def test_one_group_alone_says_nothing() -> None:
    found = intervals(np.array([0, 1]), np.array([0, 1]), np.array(["a", "a"]), 2, seed=0)
    assert found == dict.fromkeys(NAMES, (0.0, 1.0))


def test_speakers_are_resampled_where_the_protocol_keeps_two_or_more_apart() -> None:
    speakers = np.array(["a", "b", "b"])
    groups, unit = resampling_units(speakers, "speaker")
    assert unit == "speaker"
    assert groups.tolist() == ["a", "b", "b"]
    for few, protocol in ((speakers, "utterance"), (np.array(["a", "a"]), "speaker")):
        groups, unit = resampling_units(few, protocol)
        assert unit == "clip"
        assert len(set(groups)) == len(few)
