import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from ser_tune.candidates import Candidate, make_candidate, trial_seed
from ser_tune.config import EMOTIONS, ComputeConfig, ModelConfig, TrainingConfig
from ser_tune.dataset import LabelledClips
from ser_tune.errors import InputError
from ser_tune.experiment import TrialResult
from ser_tune.searcher import TrialResources, choose_resources, run_trials
from ser_tune.training import EpochScores
from ser_tune.trial import Trial, TrialSettings, train_trial

pytestmark = pytest.mark.ray

SETTINGS = TrialSettings(ModelConfig(channels=(4, 8), hidden=(32, 16)), TrainingConfig(epochs=4), "fingerprint", 1)
ONE = TrialResources(cpus=1, gpus=0.0)


def clips(n: int = 200) -> LabelledClips:
    random = np.random.default_rng(0)
    features = random.normal(size=(n, 12, 16)).astype(np.float32)
    return LabelledClips(features, np.arange(n) % 8, np.arange(n) % 2, np.arange(n), EMOTIONS)


class Witness:
    """Remembers what trials did; may act when the first epoch ends."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, int]] = []
        self.results: dict[tuple[str, int], TrialResult] = {}
        self.reasons: dict[tuple[str, int], str] = {}
        self.kill_once = False

    def started(self, trial: Trial) -> None:
        self.events.append(("started", trial.fold, 0))

    def epoch(self, trial: Trial, scores: EpochScores) -> None:
        self.events.append(("epoch", trial.fold, scores.epoch))
        if self.kill_once:
            self.kill_once = False
            for pid in trial_processes():
                os.kill(pid, signal.SIGKILL)

    def finished(self, trial: Trial, result: TrialResult) -> None:
        self.events.append(("finished", trial.fold, result.epochs))
        self.results[trial.key] = result

    def failed(self, trial: Trial, reason: str) -> None:
        self.reasons[trial.key] = reason


def trial_processes() -> list[int]:
    """The processes below this one in which Tune runs trials."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
    below, before = {os.getpid()}, 0
    while len(below) > before:
        before = len(below)
        below |= {pid for pid, parent in parents.items() if parent in below}
    return [pid for pid in below if names[pid].startswith(b"ray::Implicit")]


def trial(candidate: Candidate, fold: int) -> Trial:
    return Trial(candidate, fold, 0, trial_seed(0, fold))


def test_a_trial_on_ray_gives_what_the_loop_alone_gives_and_epochs_arrive_in_order(local_ray: None) -> None:
    witness = Witness()
    candidate = make_candidate({"lr": 0.01})
    run_trials([trial(candidate, fold) for fold in (0, 1)], clips(), SETTINGS, ONE, [witness])
    for fold in (0, 1):
        *_, alone = train_trial(trial(candidate, fold), clips(), SETTINGS, "cpu")
        found = witness.results[candidate.id, fold]
        np.testing.assert_allclose(found.train_loss, alone.train_loss, rtol=1e-5)
        assert found.initial_weights_sha256 == alone.initial_weights_sha256
        assert [event for event in witness.events if event[1] == fold] == [
            ("started", fold, 0), *(("epoch", fold, epoch) for epoch in range(1, 5)), ("finished", fold, 4),
        ]  # fmt: skip


def test_a_failing_trial_is_told_with_its_reason_and_the_others_finish(local_ray: None) -> None:
    witness = Witness()
    broken, sound = Candidate("broken", {}), make_candidate({"lr": 0.01})
    run_trials([trial(broken, 0), trial(sound, 0), trial(sound, 1)], clips(), SETTINGS, ONE, [witness])
    assert set(witness.results) == {(sound.id, 0), (sound.id, 1)}
    assert witness.reasons == {("broken", 0): "KeyError: 'lr'"}


def test_a_trial_whose_process_is_killed_starts_again_and_ends_the_same(local_ray: None) -> None:
    candidate = make_candidate({"lr": 0.01})
    killed = Witness()
    killed.kill_once = True
    run_trials([trial(candidate, 0)], clips(), SETTINGS, ONE, [killed])
    assert [event for event in killed.events if event[0] == "started"] == [("started", 0, 0)] * 2
    assert killed.reasons == {}
    *_, undisturbed = train_trial(trial(candidate, 0), clips(), SETTINGS, "cpu")
    found = killed.results[candidate.id, 0]
    np.testing.assert_allclose(found.train_loss, undisturbed.train_loss, rtol=1e-5)
    assert found.initial_weights_sha256 == undisturbed.initial_weights_sha256


def test_resources_are_chosen_to_fit_the_machine(local_ray: None) -> None:
    assert choose_resources(ComputeConfig(), 16) == TrialResources(1, 0.0)
    assert choose_resources(ComputeConfig(), 1) == TrialResources(2, 0.0)
    assert choose_resources(ComputeConfig(cpus_per_trial=2, address="auto"), 9) == TrialResources(2, 0.0)


def test_what_the_machine_can_never_give_is_refused_instead_of_waited_for(local_ray: None) -> None:
    with pytest.raises(InputError, match=r"--compute.cpus-per-trial is 100; expected at most this machine's 2"):
        choose_resources(ComputeConfig(cpus_per_trial=100), 16)
    with pytest.raises(InputError, match=r"--compute.gpus-per-trial is 1; expected at most this machine's 0"):
        choose_resources(ComputeConfig(gpus_per_trial=1), 16)
    grown = choose_resources(ComputeConfig(gpus_per_trial=0.5, address="auto"), 16)
    assert grown == TrialResources(1, 0.5)  # a cluster may add such a node
