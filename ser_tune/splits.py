"""Clips -> the test split and the folds of a protocol, with notices about what they do to the numbers.

Comes out the same for the same clips and seed, whatever their order. Refused: too few clips to
stratify, too few speakers for the folds, and, by check_no_leak, splits that share what they must not.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from ser_tune.config import EMOTIONS, SplitConfig
from ser_tune.errors import InputError, RunError

Folds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Where each clip goes, in the order of the clips given, and what the reader of a score must know."""

    split: npt.NDArray[np.str_]
    """"train" or "test" [clips]."""
    fold: Folds
    """Fold that a training clip validates, -1 in the test split [clips]."""
    notices: tuple[str, ...]


def assign_splits(clips: pd.DataFrame, splits: SplitConfig, seed: int) -> Splits:
    """Divide clips (columns clip_id, corpus, speaker, emotion) into a test split and folds over the rest."""
    order = np.argsort(clips["clip_id"].to_numpy(dtype=str), kind="stable")
    ordered = clips.iloc[order].reset_index(drop=True)
    assign = _assign_by_emotion if splits.protocol == "utterance" else _assign_by_speaker
    ordered_fold = assign(ordered, splits, seed)
    fold = np.empty_like(ordered_fold)
    fold[order] = ordered_fold
    split = np.where(fold < 0, "test", "train")
    return Splits(split, fold, tuple(_notices(ordered, ordered_fold, splits)))


def check_no_leak(clips: pd.DataFrame, splits: Splits, protocol: str, *, keep_everything: bool = False) -> None:
    """Raise RunError if audio (sha256), or a speaker under the speaker protocol, is on two sides.

    The sides are the test split and the folds. --keep-everything lets identical audio through.
    """
    if not np.array_equal(splits.split == "test", splits.fold < 0):
        raise RunError("the test split overlaps the folds; nothing was trained")
    unshared = ([] if keep_everything else ["sha256"]) + (["speaker"] if protocol == "speaker" else [])
    for column in unshared:
        sides = pd.Series(splits.fold).groupby(clips[column].to_numpy()).unique()
        for value, found in sides.items():
            if len(found) > 1:
                where = " and in ".join("the test split" if side < 0 else f"fold {side}" for side in sorted(found)[:2])
                names = clips["clip_id"][(clips[column] == value).to_numpy()].tolist()
                what = f"identical audio ({', '.join(names[:3])})" if column == "sha256" else f'speaker "{value}"'
                raise RunError(f"leak: {what} is in {where}; nothing was trained; expected it on one side only")


def _assign_by_emotion(clips: pd.DataFrame, splits: SplitConfig, seed: int) -> Folds:
    """Stratified: a test split of ceil(test_fraction n) clips, then k folds [clips]."""
    emotions = clips["emotion"].to_numpy(dtype=str)
    _require_enough_to_stratify(emotions, splits)
    fold = np.full(len(clips), -1, dtype=np.int64)
    train, _ = train_test_split(
        np.arange(len(clips)), test_size=splits.test_fraction, stratify=emotions, random_state=seed
    )
    train = np.sort(train)
    _, counts = np.unique(emotions[train], return_counts=True)
    if counts.max() < splits.folds:
        raise InputError(
            f"no emotion has {splits.folds} training clips for {splits.folds} folds, the commonest has "
            f"{counts.max()}; add recordings or use fewer --splits.folds"
        )
    folds = StratifiedKFold(splits.folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a notice names fold and emotion
        for number, (_, validation) in enumerate(folds.split(train, emotions[train])):
            fold[train[validation]] = number
    return fold


def _require_enough_to_stratify(emotions: npt.NDArray[np.str_], splits: SplitConfig) -> None:
    names, counts = np.unique(emotions, return_counts=True)
    for name, count in zip(names, counts, strict=True):
        if count < 2:
            raise InputError(
                f'emotion "{name}" has one clip, too few to be in both the training and the test split; '
                "add recordings of it or leave it out with --emotions"
            )
    n_test = int(np.ceil(splits.test_fraction * len(emotions)))
    smaller = min(n_test, len(emotions) - n_test)
    if smaller < len(names):
        raise InputError(
            f"{len(emotions)} clips of {len(names)} emotions: a split of {smaller} clips cannot hold them all; "
            "add recordings, or take fewer emotions with --emotions"
        )


def _assign_by_speaker(clips: pd.DataFrame, splits: SplitConfig, seed: int) -> Folds:
    """Speakers held out, then dealt to folds, corpus by corpus [clips]."""
    n_clips = {str(speaker): int(n) for speaker, n in clips["speaker"].value_counts().items()}
    speakers = _speakers_per_corpus(clips)
    test = _held_out_speakers(speakers, splits.test_fraction, seed)
    training = {corpus: [name for name in names if name not in test] for corpus, names in speakers.items()}
    n_training = sum(map(len, training.values()))
    if n_training < splits.folds:
        fewer = f"--splits.folds {n_training} or fewer, or " if n_training >= 2 else ""
        raise InputError(
            f"{n_training + len(test)} speakers, of whom {n_training} remain for training, are too few for "
            f"{splits.folds} folds; use {fewer}--splits.protocol utterance"
        )
    side = _deal_to_folds(training, n_clips, splits.folds, seed) | dict.fromkeys(test, -1)
    return np.array([side[speaker] for speaker in clips["speaker"]], dtype=np.int64)


def _speakers_per_corpus(clips: pd.DataFrame) -> dict[str, list[str]]:
    """Each speaker once, under the corpus where they have the most clips."""
    counts = clips.groupby(["speaker", "corpus"]).size().reset_index(name="n_clips")
    homes = counts.sort_values(["n_clips", "corpus"], ascending=[False, True]).drop_duplicates("speaker")
    return {str(corpus): sorted(names) for corpus, names in homes.groupby("corpus")["speaker"]}


def _held_out_speakers(speakers: dict[str, list[str]], test_fraction: float, seed: int) -> set[str]:
    """Speakers of the test split: a share of every corpus that has two or more, or else of all."""
    pools = {corpus: names for corpus, names in speakers.items() if len(names) >= 2}
    if not pools:
        everyone = sorted(name for names in speakers.values() for name in names)
        if len(everyone) < 2:
            raise InputError(
                f"{len(everyone)} speaker found; --splits.protocol speaker needs two or more; "
                "use --splits.protocol utterance"
            )
        pools = {"": everyone}
    held_out: set[str] = set()
    for corpus, names in pools.items():
        # Seeded by the corpus's name: its test speakers stay the same when another corpus joins.
        shuffled = np.random.default_rng([seed, *corpus.encode()]).permutation(names)
        n_test = min(max(1, round(test_fraction * len(names))), len(names) - 1)
        held_out.update(shuffled[:n_test].tolist())
    return held_out


def _deal_to_folds(speakers: dict[str, list[str]], n_clips: dict[str, int], n_folds: int, seed: int) -> dict[str, int]:
    """The fold of each speaker: first a fold without the corpus, then the one with the fewest clips.

    Largest speakers first, so that two folds never differ by more clips than the largest speaker has.
    """
    random = np.random.default_rng(seed)
    load = np.zeros(n_folds, dtype=np.int64)
    fold: dict[str, int] = {}
    # A corpus of few, large speakers is dealt first, so that the small speakers of others even it out.
    for names in sorted(speakers.values(), key=lambda names: -max((n_clips[name] for name in names), default=0)):
        reached = np.zeros(n_folds, dtype=bool)
        shuffled = random.permutation(names).tolist()
        for name in sorted(shuffled, key=lambda name: -n_clips[name]):
            choice = int(np.lexsort((random.random(n_folds), load, reached))[0])
            fold[name] = choice
            load[choice] += n_clips[name]
            reached[choice] = True
    return fold


def _notices(clips: pd.DataFrame, fold: Folds, splits: SplitConfig) -> list[str]:
    notices = []
    if splits.protocol == "utterance":
        notices.append(
            "speakers are shared between the training and the test split, and between folds: the scores tell of "
            "new clips of known speakers and come out higher than for new speakers (see --splits.protocol speaker)"
        )
    for corpus, n_speakers in clips.groupby("corpus")["speaker"].nunique().items():
        notices += _corpus_notices(
            str(corpus), int(n_speakers), set(fold[(clips["corpus"] == corpus).to_numpy()]), splits
        )
    return notices + _emotion_notices(clips["emotion"].to_numpy(dtype=str), fold, splits.folds)


def _corpus_notices(corpus: str, n_speakers: int, sides: set[int], splits: SplitConfig) -> list[str]:
    """What the sides (folds, -1 the test split) that a corpus has clips in mean for the scores."""
    who = f'corpus "{corpus}" ({n_speakers} speaker{"s" * (n_speakers > 1)})'
    folds = sorted(sides - {-1})
    if not folds:
        return [f"{who} is in the test split alone: nothing is learned from it"]
    notices = [] if -1 in sides else [f"{who} goes to training whole: the test score tells nothing about it"]
    if len(folds) < splits.folds:
        numbers = ", ".join(map(str, folds))
        alone = f"; in fold {numbers} nothing of it is trained on" if len(folds) == 1 else ""
        notices.append(
            f"{who} has too few training speakers for {splits.folds} folds: it is validated in "
            f"fold{'s' * (len(folds) > 1)} {numbers} only{alone}"
        )
    return notices


def _emotion_notices(emotions: npt.NDArray[np.str_], fold: Folds, n_folds: int) -> list[str]:
    expected = [emotion for emotion in EMOTIONS if emotion in emotions]

    def lacking(part: npt.NDArray[np.bool_]) -> str:
        return ", ".join(f'"{emotion}"' for emotion in expected if emotion not in emotions[part])

    notices = []
    if missing := lacking(fold < 0):
        notices.append(f"the test split has no clip of {missing}: its scores tell nothing about it")
    if missing := lacking(fold >= 0):
        notices.append(f"the training split has no clip of {missing}: it cannot be learned")
    for number in range(n_folds):
        if missing := lacking(fold == number):
            notices.append(f"fold {number} has no clip of {missing} to validate on")
        if missing := lacking((fold >= 0) & (fold != number)):
            notices.append(f"fold {number} has no clip of {missing} to train on")
    return notices
