from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from ser_tune.candidates import make_candidate, trial_seed
from ser_tune.config import EMOTIONS, ModelConfig, Setting, TrainingConfig
from ser_tune.dataset import LabelledClips, fit_standardisation
from ser_tune.experiment import TrialResult
from ser_tune.model import build_network, weights_sha256
from ser_tune.refit import Refit, refit_epochs
from ser_tune.training import EpochScores, Learner, load_inputs, mask, predict_logits, start, train_epochs
from ser_tune.trial import Trial, TrialSettings, train_trial

SMALL = ModelConfig(channels=(4, 8), hidden=(32, 16), dropout=0.1)
pytestmark = pytest.mark.usefixtures("one_thread")


def learnable_clips(n: int = 160, n_classes: int = 4) -> LabelledClips:
    random = np.random.default_rng(3)
    labels = np.arange(n) % n_classes
    features = random.normal(size=(n, 12, 16)).astype(np.float32)
    features += 3 * np.eye(12, dtype=np.float32)[labels][:, :, None] + 40  # far from 0: needs standardising
    return LabelledClips(features, labels, (np.arange(n) // n_classes) % 4, np.arange(n), EMOTIONS[:n_classes])


def settings(epochs: int = 4) -> TrialSettings:
    return TrialSettings(
        Setting(model=SMALL, training=TrainingConfig(epochs=epochs, batch_size=16)), "fingerprint", 1, "float32"
    )


def begin(data: LabelledClips, model: ModelConfig, training: TrainingConfig, seed: int = 0) -> Learner:
    return start(data, load_inputs(data, "cpu"), fit_standardisation(data), model, training, seed, "float32")


def run(fold: int, lr: float = 0.003, data: LabelledClips | None = None, epochs: int = 4) -> TrialResult:
    trial = Trial(make_candidate({"lr": lr}), fold, 0, trial_seed(0, fold))
    data = data or learnable_clips()
    *_, result = train_trial(trial, data, load_inputs(data, "cpu"), settings(epochs))
    assert isinstance(result, TrialResult)
    return result


def test_a_trial_learns_what_can_be_learnt() -> None:
    result = run(0, epochs=12)
    assert result.val_accuracy[-1] > 0.9
    assert result.train_loss[-1] < result.train_loss[0]
    assert result.epochs == len(result.val_uar) == len(result.val_macro_f1) == 12


def test_the_same_trial_twice_gives_the_same_numbers_to_the_bit() -> None:
    first, second = run(1), run(1)
    assert first.train_loss == second.train_loss
    assert first.val_loss == second.val_loss


def test_candidates_meet_the_same_initial_weights_on_a_fold_and_other_ones_on_another() -> None:
    assert run(0, lr=0.01, epochs=1).initial_weights_sha256 == run(0, lr=0.001, epochs=1).initial_weights_sha256
    assert run(0, epochs=1).initial_weights_sha256 != run(1, epochs=1).initial_weights_sha256


def test_a_trial_starts_from_a_fresh_network_whatever_ran_before_in_the_process() -> None:
    alone = run(2)
    run(1, lr=0.05)
    assert run(2).val_loss == alone.val_loss
    torch.manual_seed(trial_seed(0, 2))
    fresh = build_network(SMALL, 12, 16, 4)
    assert alone.initial_weights_sha256 == weights_sha256(fresh.state_dict())


def test_standardisation_comes_from_the_training_part_of_the_fold_alone() -> None:
    data = learnable_clips()
    train = data.without_fold(0)
    expected = StandardScaler().fit(np.moveaxis(data.features[data.fold != 0], 1, 2).reshape(-1, 12))
    found = fit_standardisation(train)
    np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-6)
    np.testing.assert_allclose(found.std, np.sqrt(expected.var_), rtol=1e-6)
    spoilt = data.features.copy()
    spoilt[data.fold == 0] = 1e6
    again = fit_standardisation(LabelledClips(spoilt, data.labels, data.fold, data.rows, data.emotions).without_fold(0))
    np.testing.assert_array_equal(again.mean, found.mean)


def test_validation_clips_do_not_change_what_is_learnt() -> None:
    data = learnable_clips()
    spoilt = data.features.copy()
    spoilt[data.fold == 0] = np.random.default_rng(0).normal(size=spoilt[data.fold == 0].shape)
    other = LabelledClips(spoilt, data.labels, data.fold, data.rows, data.emotions)
    assert run(0).train_loss == run(0, data=other).train_loss
    assert run(0).val_loss != run(0, data=other).val_loss


def test_a_constant_coefficient_becomes_zero_and_not_nan() -> None:
    data = learnable_clips()
    data.features[:, 5, :] = 7.0
    assert np.isfinite(run(0, data=data).train_loss).all()


def test_training_accuracy_is_the_running_mean_over_the_batches_of_the_epoch() -> None:
    data = learnable_clips(64)
    torch.manual_seed(0)
    learner = begin(data, SMALL, TrainingConfig(batch_size=64, lr=1e-12), 5)
    learner.network.train()
    (scores,) = train_epochs(learner, data, None, 1)
    # With a learning rate of almost nothing and one batch, the same dropout gives the same figure again.
    again = begin(data, SMALL, TrainingConfig(batch_size=64, lr=1e-12), 5)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5)).numpy()
    standardisation = fit_standardisation(data)
    features = (data.features[order] - standardisation.mean[:, None]) / standardisation.std[:, None]
    again.network.train()
    hits = again.network(torch.from_numpy(features)).argmax(dim=1).numpy() == data.labels[order]
    assert scores.train_accuracy == pytest.approx(hits.mean(), abs=0.02)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_optimiser_takes_the_steps_of_torchs_own_plain_one(name: str) -> None:
    settings = TrainingConfig(batch_size=16, optimizer=name, weight_decay=0.01, lr=0.01)  # type: ignore[arg-type]
    data = learnable_clips(16)
    standardisation = fit_standardisation(data)
    learner = begin(data, replace(SMALL, dropout=0.0), settings, 5)
    again = begin(data, replace(SMALL, dropout=0.0), settings, 5).network
    plain: torch.optim.Optimizer
    if name == "sgd":
        plain = torch.optim.SGD(again.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
        plain = kind(again.parameters(), lr=0.01, weight_decay=0.01, foreach=False)
    features = (data.features - standardisation.mean[:, None]) / standardisation.std[:, None]
    for _ in train_epochs(learner, data, None, 3):
        plain.zero_grad()
        torch.nn.functional.cross_entropy(again(torch.from_numpy(features)), torch.from_numpy(data.labels)).backward()  # type: ignore[no-untyped-call]
        plain.step()
    for found, expected in zip(learner.network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_label_smoothing_shares_the_target_among_all_emotions() -> None:
    data = learnable_clips(32)
    logits, labels = torch.randn(32, 4), torch.from_numpy(data.labels)
    learner = begin(data, SMALL, TrainingConfig(label_smoothing=0.2), 0)
    target = 0.8 * torch.nn.functional.one_hot(labels, 4) + 0.2 / 4
    torch.testing.assert_close(learner.loss(logits, labels), -(target * torch.log_softmax(logits, 1)).sum(1).mean())


def test_masks_are_one_run_of_frames_and_one_of_mfcc_with_their_deltas() -> None:
    settings = TrainingConfig(time_mask=5, frequency_mask=3)
    masked = mask(torch.ones(500, 12, 16), settings, torch.Generator().manual_seed(0)) == 0
    frames, coefficients = masked.all(dim=1), masked.all(dim=2)
    assert torch.equal(masked, frames[:, None, :] | coefficients[:, :, None])
    for runs, longest in ((frames, 5), (coefficients[:, :4], 3)):
        changes = (runs[:, 1:] != runs[:, :-1]).sum(dim=1)
        assert changes.max() <= 2  # one run
        assert set(runs.sum(dim=1).tolist()) == set(range(longest + 1))
        assert runs.any(dim=0).all()  # anywhere
    assert torch.equal(coefficients[:, :4], coefficients[:, 4:8])
    assert torch.equal(coefficients[:, :4], coefficients[:, 8:])


def test_without_masks_nothing_is_drawn_and_nothing_changes() -> None:
    generator, batch = torch.Generator().manual_seed(0), torch.randn(4, 12, 16)
    before = generator.get_state()
    assert torch.equal(mask(batch.clone(), TrainingConfig(), generator), batch)
    assert torch.equal(generator.get_state(), before)


def test_the_hyperparameters_of_a_candidate_reach_its_network_and_its_training() -> None:
    def trained(**hyperparameters: object) -> TrialResult:
        trial, data = Trial(make_candidate({"lr": 0.003, **hyperparameters}), 0, 0, trial_seed(0, 0)), learnable_clips()
        *_, result = train_trial(trial, data, load_inputs(data, "cpu"), settings(1))
        assert isinstance(result, TrialResult)
        return result

    plain = trained()
    assert trained(channels=2).initial_weights_sha256 != plain.initial_weights_sha256
    changes: list[dict[str, object]] = [
        {"batch_size": 8}, {"optimizer": "sgd"}, {"dropout": 0.5}, {"label_smoothing": 0.3}, {"weight_decay": 0.5},
        {"time_mask": 8}, {"frequency_mask": 3},
    ]  # fmt: skip
    for change in changes:
        found = trained(**change)
        assert found.initial_weights_sha256 == plain.initial_weights_sha256
        assert found.train_loss != plain.train_loss, change


def test_the_published_loss_puts_a_softmax_before_cross_entropy() -> None:
    data = learnable_clips(32)
    logits, labels = torch.randn(32, 4), torch.from_numpy(data.labels)
    learner = begin(data, SMALL, TrainingConfig(loss="published"), 0)
    twice = torch.log_softmax(torch.softmax(logits, 1), 1)[torch.arange(32), labels]
    torch.testing.assert_close(learner.loss(logits, labels), -twice.mean())


def test_the_refit_trains_on_the_whole_training_split_and_predicts_the_same_again() -> None:
    data = learnable_clips()
    *epochs, refit = refit_epochs(data, load_inputs(data, "cpu"), settings(), make_candidate({"lr": 0.003}), 8, 1)
    assert isinstance(refit, Refit)
    assert [scores.epoch for scores in epochs if isinstance(scores, EpochScores)] == list(range(1, 9))
    network = build_network(SMALL, 12, 16, 4)
    network.load_state_dict(refit.weights)
    accuracy = (predict_logits(network, refit.standardisation, data).argmax(1).numpy() == data.labels).mean()
    assert accuracy > 0.9
