import dataclasses
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ser_tune.config import EMOTIONS, SplitConfig
from ser_tune.errors import InputError, RunError
from ser_tune.splits import Splits, assign_splits, check_no_leak

UTTERANCE, SPEAKER = SplitConfig("utterance"), SplitConfig("speaker")


def _clips(rows: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """The table of clips given as (corpus, speaker, emotion)."""
    clips = pd.DataFrame(rows, columns=["corpus", "speaker", "emotion"])
    clips.insert(0, "clip_id", [f"{corpus}/{number:05d}" for number, corpus in enumerate(clips["corpus"])])
    clips["sha256"] = [f"{number:064x}" for number in range(len(clips))]
    return clips.sort_values("clip_id", ignore_index=True)


def _corpora(speakers: dict[str, int], n_clips: int = 16) -> pd.DataFrame:
    """Corpora with so many speakers each, who all speak every emotion."""
    names = [(corpus, f"{corpus}-{n:02d}") for corpus, count in speakers.items() for n in range(count)]
    return _clips([(corpus, name, EMOTIONS[n % 8]) for corpus, name in names for n in range(n_clips)])


@st.composite
def _any_clips(draw: st.DrawFn) -> pd.DataFrame:
    """Up to 4 corpora of up to 6 speakers with 1 to 12 clips; some speak in another corpus too."""
    rows = []
    for corpus in "abcd"[: draw(st.integers(1, 4))]:
        for speaker in range(draw(st.integers(1, 6))):
            emotions = draw(st.lists(st.sampled_from(EMOTIONS), min_size=1, max_size=12))
            visits = draw(st.sampled_from([corpus, corpus, corpus, "a"]))
            rows += [(corpus, f"{corpus}{speaker}", emotion) for emotion in emotions]
            rows += [(visits, f"{corpus}{speaker}", emotion) for emotion in emotions[::3]]
    return _clips(rows)


@settings(max_examples=80, deadline=None)
@given(_any_clips(), st.integers(2, 5), st.sampled_from([0.05, 0.2, 0.5]), st.integers(0, 2**32 - 1))
def test_no_speaker_is_on_two_sides_and_folds_are_even(
    clips: pd.DataFrame, folds: int, test_fraction: float, seed: int
) -> None:
    config = SplitConfig("speaker", folds, test_fraction)
    try:
        splits = assign_splits(clips, config, seed)
    except InputError:
        # Per corpus one speaker at least is held out, and rounding can add a half.
        assert clips["speaker"].nunique() * (1 - test_fraction) - 4 < folds
        return
    sides = {speaker: set(splits.fold[rows]) for speaker, rows in clips.groupby("speaker").indices.items()}
    assert all(len(side) == 1 for side in sides.values())
    assert set(splits.fold) == set(range(-1, folds))
    assert set(zip(splits.split, splits.fold < 0, strict=True)) == {("train", False), ("test", True)}
    largest = clips["speaker"][splits.fold >= 0].value_counts().max()
    n_clips = [(splits.fold == fold).sum() for fold in range(folds)]
    assert max(n_clips) - min(n_clips) <= largest
    check_no_leak(clips, splits, "speaker")


@settings(max_examples=60, deadline=None)
@given(_any_clips(), st.integers(2, 5), st.sampled_from([0.05, 0.2, 0.5]), st.integers(0, 2**32 - 1))
def test_stratified_splits_are_exact_in_size_and_even_in_emotion(
    clips: pd.DataFrame, folds: int, test_fraction: float, seed: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            splits = assign_splits(clips, SplitConfig("utterance", folds, test_fraction), seed)
        except InputError:
            counts_of_emotions = clips["emotion"].value_counts()
            n_test = math.ceil(test_fraction * len(clips))
            assert (
                counts_of_emotions.min() < 2
                or min(n_test, len(clips) - n_test) < len(counts_of_emotions)
                or counts_of_emotions.max() * (1 - test_fraction) - 1 < folds
            )
            return
    assert (splits.split == "test").sum() == math.ceil(test_fraction * len(clips))
    sizes = [(splits.fold == fold).sum() for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 1
    for emotion in clips["emotion"].unique():
        of_emotion = (clips["emotion"] == emotion).to_numpy()
        counts = [(of_emotion & (splits.fold == fold)).sum() for fold in range(folds)]
        assert max(counts) - min(counts) <= 1
        assert abs((of_emotion & (splits.fold < 0)).sum() - test_fraction * of_emotion.sum()) <= 1
    check_no_leak(clips, splits, "utterance")


@settings(max_examples=40, deadline=None)
@given(_any_clips(), st.sampled_from([UTTERANCE, SPEAKER]), st.randoms())
def test_splits_depend_on_neither_order_nor_other_columns(
    clips: pd.DataFrame, config: SplitConfig, random: Random
) -> None:
    try:
        splits = assign_splits(clips, config, seed=7)
    except InputError:
        assume(False)
    order = list(range(len(clips)))
    random.shuffle(order)
    mixed = clips.iloc[order].assign(path="elsewhere")
    again = assign_splits(mixed, config, seed=7)
    np.testing.assert_array_equal(again.fold, splits.fold[order])
    np.testing.assert_array_equal(again.split, splits.split[order])
    assert again.notices == splits.notices


@pytest.mark.parametrize("config", [UTTERANCE, SPEAKER])
def test_another_seed_gives_other_splits(config: SplitConfig) -> None:
    clips = _corpora({"ravdess": 24, "savee": 4})
    first, second = (assign_splits(clips, config, seed) for seed in (0, 1))
    assert (first.fold != second.fold).any()
    assert ((first.fold < 0) != (second.fold < 0)).any()


def test_the_published_numbers_of_clips_give_the_published_test_set() -> None:
    counts = {"neutral": 1703, "surprise": 652, "calm": 192}
    counts |= dict.fromkeys(("happy", "sad", "angry", "fearful", "disgust"), 1923)
    clips = _clips([("all", "x", emotion) for emotion, n in counts.items() for _ in range(n)])
    assert len(clips) == 12162
    assert (assign_splits(clips, UTTERANCE, 0).split == "test").sum() == 2433
    assert (assign_splits(clips[8:], UTTERANCE, 0).split == "test").sum() == 2431


def test_every_corpus_with_two_speakers_is_tested_and_trained() -> None:
    clips = _corpora({"crema-d": 91, "ravdess": 24, "savee": 4, "tess": 2, "own": 1}, n_clips=8)
    splits = assign_splits(clips, SPEAKER, seed=0)
    n_test = clips[splits.split == "test"].groupby("corpus")["speaker"].nunique().to_dict()
    assert n_test == {"crema-d": 18, "ravdess": 5, "savee": 1, "tess": 1}
    text = "\n".join(splits.notices)
    assert 'corpus "own" (1 speaker) goes to training whole: the test score tells nothing about it' in text
    assert 'corpus "tess" (2 speakers) has too few training speakers for 4 folds: it is validated in fold' in text
    assert 'corpus "savee" (4 speakers) has too few training speakers for 4 folds: it is validated in folds' in text
    assert "crema-d" not in text
    assert "speakers are shared" not in text
    for corpus in ("crema-d", "ravdess"):
        assert set(splits.fold[(clips["corpus"] == corpus).to_numpy()]) == {-1, 0, 1, 2, 3}
    assert len(set(splits.fold[(clips["corpus"] == "savee").to_numpy()]) - {-1}) == 3


def test_the_test_speakers_of_a_corpus_stay_when_another_joins() -> None:
    alone = _corpora({"savee": 4, "ravdess": 24})
    joined = _corpora({"savee": 4, "ravdess": 24, "crema-d": 20})
    tested = [set(clips["speaker"][assign_splits(clips, SPEAKER, 3).split == "test"]) for clips in (alone, joined)]
    assert tested[0] == {name for name in tested[1] if not name.startswith("crema-d")}


def test_corpora_of_one_speaker_each_are_held_out_as_a_whole() -> None:
    clips = _corpora({f"corpus{n}": 1 for n in range(6)})
    splits = assign_splits(clips, SPEAKER, seed=0)
    tested = set(clips["corpus"][splits.split == "test"])
    assert len(tested) == 1
    assert any("is in the test split alone: nothing is learned from it" in notice for notice in splits.notices)


def test_a_speaker_of_two_corpora_is_one_speaker() -> None:
    rows = [("a", "x", "sad")] * 5 + [("b", "x", "happy")] * 2
    rows += [(corpus, f"{corpus}{n}", "sad") for corpus in "ab" for n in range(4)]
    clips = _clips(rows)
    for seed in range(10):
        assert len(set(assign_splits(clips, SPEAKER, seed).fold[(clips["speaker"] == "x").to_numpy()])) == 1


def test_the_protocol_that_shares_speakers_always_says_so() -> None:
    notices = assign_splits(_corpora({"savee": 4}), UTTERANCE, seed=0).notices
    assert len(notices) == 1
    assert notices[0].startswith("speakers are shared between the training and the test split, and between folds")


def test_folds_and_test_split_that_lack_an_emotion_are_named() -> None:
    rows = [("a", f"s{n}", emotion) for n in range(10) for emotion in ("happy", "sad") for _ in range(4)]
    clips = _clips([*rows, ("a", "s3", "calm")])
    splits = assign_splits(clips, SPEAKER, seed=0)
    side = int(splits.fold[clips.index[clips["emotion"] == "calm"][0]])
    if side < 0:
        expected = {'the training split has no clip of "calm": it cannot be learned'}
    else:
        expected = {f'fold {side} has no clip of "calm" to train on'}
        expected |= {'the test split has no clip of "calm": its scores tell nothing about it'}
    expected |= {f'fold {n} has no clip of "calm" to validate on' for n in range(4) if n != side}
    assert expected <= set(splits.notices)


def test_an_emotion_too_rare_for_every_fold_is_named_without_a_warning() -> None:
    clips = _clips([("a", "x", emotion) for emotion, n in {"sad": 40, "calm": 3}.items() for _ in range(n)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = assign_splits(clips, UTTERANCE, seed=0)
    lacking = [n for n in range(4) if not ((clips["emotion"] == "calm") & (splits.fold == n)).any()]
    assert lacking
    for fold in lacking:
        assert f'fold {fold} has no clip of "calm" to validate on' in splits.notices


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"sad": 40, "calm": 1}, 'emotion "calm" has one clip, .* leave it out with --emotions'),
        ({"sad": 2, "calm": 2, "happy": 2}, "6 clips of 3 emotions: a split of 2 clips cannot hold them all"),
        ({"sad": 4, "calm": 4}, "no emotion has 4 training clips for 4 folds, the commonest has 3"),
    ],
)
def test_too_few_clips_to_stratify_are_refused_in_words(counts: dict[str, int], message: str) -> None:
    clips = _clips([("a", "x", emotion) for emotion, n in counts.items() for _ in range(n)])
    with pytest.raises(InputError, match=message):
        assign_splits(clips, UTTERANCE, seed=0)


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        ({"a": 1}, "1 speaker found; .* needs two or more; use --splits.protocol utterance"),
        ({"a": 2}, "2 speakers, of whom 1 remain for training, are too few for 4 folds; use --splits.protocol utt"),
        ({"a": 3, "b": 2}, "5 speakers, of whom 3 remain .* use --splits.folds 3 or fewer, or --splits.protocol utt"),
    ],
)
def test_fewer_training_speakers_than_folds_are_refused_with_the_flags(speakers: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        assign_splits(_corpora(speakers), SPEAKER, seed=0)


def _with_fold(splits: Splits, row: int, fold: int) -> Splits:
    folds = splits.fold.copy()
    folds[row] = fold
    return dataclasses.replace(splits, fold=folds, split=np.where(folds < 0, "test", "train"))


@pytest.mark.parametrize("planted", [-1, 0, 1, 2, 3])
def test_a_planted_speaker_is_caught_wherever_it_leaks(planted: int) -> None:
    clips = _corpora({"savee": 8})
    splits = assign_splits(clips, SPEAKER, seed=0)
    row = int(np.flatnonzero(splits.fold != planted)[0])
    speaker = clips["speaker"][row]
    leaking = _with_fold(splits, row, planted)
    with pytest.raises(RunError, match=f'leak: speaker "{speaker}" is in .*; nothing was trained'):
        check_no_leak(clips, leaking, "speaker")
    check_no_leak(clips, leaking, "utterance")


def test_planted_identical_audio_is_caught_under_both_protocols() -> None:
    clips = _corpora({"savee": 8})
    for config in (UTTERANCE, SPEAKER):
        splits = assign_splits(clips, config, seed=0)
        tested, trained = int(np.flatnonzero(splits.fold < 0)[0]), int(np.flatnonzero(splits.fold == 2)[0])
        sha256 = clips["sha256"].to_numpy(copy=True)
        sha256[trained] = sha256[tested]
        leaking = clips.assign(sha256=sha256)
        with pytest.raises(
            RunError, match=r"identical audio \(savee/.*, savee/.*\) is in the test split and in fold 2"
        ):
            check_no_leak(leaking, splits, config.protocol)
        check_no_leak(leaking, splits, config.protocol, keep_everything=True)


def test_a_training_clip_without_a_fold_is_caught() -> None:
    clips = _corpora({"savee": 8})
    splits = assign_splits(clips, UTTERANCE, seed=0)
    fold = splits.fold.copy()
    fold[np.flatnonzero(splits.split == "test")[0]] = 0
    with pytest.raises(RunError, match="the test split overlaps the folds"):
        check_no_leak(clips, dataclasses.replace(splits, fold=fold), "utterance")


def test_folds_of_the_real_corpora_sizes_are_even() -> None:
    sizes = {"crema-d": (91, 82), "ravdess": (24, 60), "savee": (4, 120), "tess": (2, 1400)}
    rows = [
        (c, f"{c}{s}", EMOTIONS[n % 8])
        for c, (count, clips) in sizes.items()
        for s in range(count)
        for n in range(clips)
    ]
    splits = assign_splits(_clips(rows), SPEAKER, seed=0)
    counts = Counter(splits.fold[splits.fold >= 0].tolist())
    assert max(counts.values()) - min(counts.values()) <= 100
