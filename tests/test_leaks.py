"""The guards against leaks are tried by leaking: each leak is planted in the real code, and a guard must catch it.

Where nothing but a test can see a leak, the test's check is a function: it passes with the code as it is, and it must
fail with the leak planted.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import nn

from ser_tune.audio import probe
from ser_tune.candidates import make_candidate, trial_seed
from ser_tune.config import (
    EMOTIONS,
    DataConfig,
    FeatureConfig,
    ModelConfig,
    SearchConfig,
    Setting,
    SplitConfig,
    TrainingConfig,
)
from ser_tune.dataset import LabelledClips, fit_standardisation
from ser_tune.errors import RunError
from ser_tune.experiment import TrialResult
from ser_tune.model import EmotionNetwork, build_network, weights_sha256
from ser_tune.preparation import Preparation, prepare
from ser_tune.refit import Refit, refit_epochs
from ser_tune.selection import check_fresh_networks
from ser_tune.sharing import load_clips
from ser_tune.splits import Splits, assign_splits
from ser_tune.testing import evaluate
from ser_tune.training import load_inputs
from ser_tune.trial import Trial, TrialSettings, train_trial

MODEL = ModelConfig(channels=(2, 3), hidden=(6, 5), dropout=0.1)
SETTINGS = TrialSettings(
    Setting(model=MODEL, training=TrainingConfig(epochs=2, batch_size=16)), "fingerprint", 1, "float32"
)
N_EMOTIONS = 4
Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.usefixtures("one_thread")


def some_clips() -> LabelledClips:
    """96 clips in 4 folds and, last, 24 of the test split."""
    random = np.random.default_rng(0)
    features = random.normal(size=(120, 12, 16)).astype(np.float32)
    fold = np.r_[np.arange(96) % 4, np.full(24, -1)]
    return LabelledClips(features, np.arange(120) // 4 % N_EMOTIONS, fold, np.arange(120), EMOTIONS[:N_EMOTIONS])


def training_split(clips: LabelledClips) -> LabelledClips:
    return clips.where(clips.fold >= 0)


def spoilt(clips: LabelledClips, where: np.ndarray) -> LabelledClips:
    """The same clips, but for the features of some, which are those of something else."""
    features = clips.features.copy()
    features[where] = 50 + 9 * np.random.default_rng(1).normal(size=features[where].shape)
    return replace(clips, features=features)


def run(fold: int, lr: float = 0.01, clips: LabelledClips | None = None) -> TrialResult:
    trial = Trial(make_candidate({"lr": lr}), fold, 0, trial_seed(0, fold))
    clips = clips or training_split(some_clips())
    *_, result = train_trial(trial, clips, load_inputs(clips, "cpu"), SETTINGS)
    assert isinstance(result, TrialResult)
    return result


def refit(clips: LabelledClips) -> Refit:
    *_, found = refit_epochs(clips, load_inputs(clips, "cpu"), SETTINGS, make_candidate({"lr": 0.01}), 2, 7)
    assert isinstance(found, Refit)
    return found


# A model that keeps its weights between folds.


def keep_the_network(monkeypatch: Patch) -> None:
    kept: list[EmotionNetwork] = []

    def build_once(*arguments: Any) -> EmotionNetwork:
        kept.extend([] if kept else [build_network(*arguments)])
        return kept[0]

    monkeypatch.setattr("ser_tune.training.build_network", build_once)


def test_a_search_notices_a_network_that_is_kept_between_candidates(monkeypatch: Patch) -> None:
    grid = [(fold, lr) for lr in (0.01, 0.001) for fold in (0, 1)]
    check_fresh_networks([run(*cell) for cell in grid], lambda _: MODEL.channels)
    keep_the_network(monkeypatch)
    with pytest.raises(RunError, match=r"leak: candidates .* began fold 0, repeat 0, with different weights"):
        check_fresh_networks([run(*cell) for cell in grid], lambda _: MODEL.channels)


def test_networks_of_other_sizes_may_begin_with_other_weights() -> None:
    results = [run(0), replace(run(0, 0.001), initial_weights_sha256="another", hyperparameters={"channels": 8})]
    check_fresh_networks(results, lambda hyperparameters: hyperparameters.get("channels"))


def check_every_fold_begins_with_the_weights_of_its_seed() -> None:
    """Drawn here layer by layer, by nothing of ser_tune."""
    for fold in (0, 1, 2):
        torch.manual_seed(trial_seed(0, fold))
        drawn = {
            "layers.0": nn.Conv2d(1, 2, 3, padding=1),
            "layers.4": nn.Conv2d(2, 3, 3, padding=1),
            "layers.9": nn.Linear(3 * 3 * 4, 6),
            "layers.11": nn.Linear(6, 5),
            "layers.13": nn.Linear(5, N_EMOTIONS),
        }
        named = [(f"{name}.{kind}", value) for name, layer in drawn.items() for kind, value in layer.named_parameters()]
        assert run(fold).initial_weights_sha256 == weights_sha256(dict(named))


def test_a_network_that_is_kept_between_the_folds_of_one_candidate_is_caught(monkeypatch: Patch) -> None:
    check_every_fold_begins_with_the_weights_of_its_seed()
    keep_the_network(monkeypatch)
    with pytest.raises(AssertionError):
        check_every_fold_begins_with_the_weights_of_its_seed()


# A standardiser fitted on all rows.


def fit_on_all(clips: LabelledClips) -> Any:
    return fit_standardisation(replace(clips, rows=np.arange(len(clips.features))))


def check_training_does_not_depend_on_the_validation_part() -> None:
    clips = training_split(some_clips())
    other = spoilt(clips, clips.fold == 0)
    assert run(0, clips=clips).train_loss == run(0, clips=other).train_loss


def check_the_refit_does_not_depend_on_the_test_split() -> None:
    clips = some_clips()
    found, again = (refit(training_split(one)) for one in (clips, spoilt(clips, clips.fold < 0)))
    np.testing.assert_array_equal(found.standardisation.mean, again.standardisation.mean)
    assert weights_sha256(found.weights) == weights_sha256(again.weights)


@pytest.mark.parametrize(
    ("check", "place"),
    [
        (check_training_does_not_depend_on_the_validation_part, "ser_tune.trial.fit_standardisation"),
        (check_the_refit_does_not_depend_on_the_test_split, "ser_tune.refit.fit_standardisation"),
    ],
)
def test_a_standardiser_fitted_on_all_rows_is_caught(monkeypatch: Patch, check: Callable[[], None], place: str) -> None:
    check()
    monkeypatch.setattr(place, fit_on_all)
    with pytest.raises(AssertionError):
        check()


# What is on two sides: from recordings to splits, as every search prepares them.


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 speakers of RAVDESS with 4 recordings each, and a fifth that is the same for all of them."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(60):
        actor, take = number // 5 + 1, number % 5
        noise = np.random.default_rng(number if take else 0).uniform(-0.3, 0.3, 2000)
        soundfile.write(folder / f"03-01-0{max(3, take + 2)}-0{1 + (take == 0)}-01-01-{actor:02d}.wav", noise, 16000)
    return folder


@pytest.fixture
def prepared(recordings: Path, monkeypatch: Patch) -> Callable[[str], Preparation]:
    """The real preparation, but for the features, which need Ray and which no split depends on."""

    def facts_only(paths: list[str], *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(facts={path: probe(path) for path in paths}, only=lambda _: None)

    monkeypatch.setattr("ser_tune.preparation.extract", facts_only)

    def run_preparation(protocol: Any) -> Preparation:
        config = SearchConfig(data=DataConfig(data_dir=recordings), splits=SplitConfig(protocol=protocol, folds=3))
        return prepare(config, lambda: None)

    return run_preparation


def test_a_duplicate_on_both_sides_is_caught(prepared: Callable[[str], Preparation], monkeypatch: Patch) -> None:
    reasons = prepared("utterance").excluded["reason"]
    assert len(reasons) == 11
    assert reasons.str.startswith("duplicate: ").all()
    monkeypatch.setattr("ser_tune.manifest._fault", lambda *_: "")
    with pytest.raises(RunError, match=r"leak: identical audio \(ravdess/.*nothing was trained"):
        prepared("utterance")


@pytest.mark.parametrize("side", ["another fold", "the test split"])
def test_a_speaker_on_both_sides_is_caught(
    prepared: Callable[[str], Preparation], monkeypatch: Patch, side: str
) -> None:
    prepared("speaker")

    def move_one(clips: pd.DataFrame, config: SplitConfig, seed: int) -> Splits:
        splits = assign_splits(clips, config, seed)
        moved = int(np.flatnonzero(splits.fold == 0)[0])
        splits.fold[moved] = 1 if side == "another fold" else -1
        return replace(splits, split=np.where(splits.fold < 0, "test", "train"))

    monkeypatch.setattr("ser_tune.preparation.assign_splits", move_one)
    with pytest.raises(RunError, match=r'leak: speaker "ravdess-\d\d" is in (fold 0 and in fold 1|the test split and)'):
        prepared("speaker")


# A test row in training.


def test_a_test_row_that_validates_a_fold_is_caught(prepared: Callable[[str], Preparation], monkeypatch: Patch) -> None:
    def also_a_fold(clips: pd.DataFrame, config: SplitConfig, seed: int) -> Splits:
        splits = assign_splits(clips, config, seed)
        splits.fold[int(np.flatnonzero(splits.split == "test")[0])] = 0
        return splits

    monkeypatch.setattr("ser_tune.preparation.assign_splits", also_a_fold)
    with pytest.raises(RunError, match="the test split overlaps the folds; nothing was trained"):
        prepared("utterance")


def test_a_test_row_in_the_training_part_is_caught_by_trial_and_refit() -> None:
    clips = some_clips()
    leaking = clips.where((clips.fold >= 0) | (clips.rows == 119))
    for train in (lambda: run(0, clips=leaking), lambda: refit(leaking)):
        with pytest.raises(RunError, match="leak: clips of the test split are in the training part"):
            train()


def test_a_validation_row_in_the_training_part_is_caught(monkeypatch: Patch) -> None:
    monkeypatch.setattr(LabelledClips, "without_fold", lambda clips, _: clips)
    with pytest.raises(RunError, match="leak: clips are in the training part and in the validation part"):
        run(0)


def test_a_training_row_in_the_test_split_is_caught() -> None:
    clips = some_clips()
    network = build_network(MODEL, 12, 16, N_EMOTIONS)
    names = ["x"] * len(clips)
    with pytest.raises(RunError, match="leak: clips of the training split are in the test split; it was not opened"):
        evaluate(network, fit_standardisation(training_split(clips)), clips, names, names, "utterance", 0)


def test_the_rows_that_a_search_trains_on_are_those_of_its_training_split(
    prepared: Callable[[str], Preparation],
) -> None:
    preparation = prepared("utterance")
    cache: Any = SimpleNamespace(load=lambda sha256s: np.zeros((len(sha256s), *FeatureConfig().shape), np.float32))
    train = load_clips(preparation.rows("train"), cache, EMOTIONS)
    assert (train.fold >= 0).all()
    assert len(train) == (preparation.clips["split"] == "train").sum()
    with pytest.raises(RunError, match="leak: clips of the test split"):
        refit(load_clips(preparation.rows("test"), cache, EMOTIONS))
