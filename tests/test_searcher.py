import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from search_runs import trial_processes

from ser_tune.candidates import Candidate, make_candidate, trial_seed
from ser_tune.config import EMOTIONS, ComputeConfig, ModelConfig, Setting, TrainingConfig
from ser_tune.dataset import LabelledClips
from ser_tune.errors import InputError
from ser_tune.experiment import TrialKey, TrialResult
from ser_tune.searcher import TrialResources, _reason, choose_resources, count_slots, run_trials
from ser_tune.training import EpochScores, load_inputs
from ser_tune.trial import Trial, TrialSettings, train_trial

pytestmark = pytest.mark.ray

BASE = Setting(model=ModelConfig(channels=(4, 8), hidden=(32, 16)), training=TrainingConfig(epochs=4))
SETTINGS = TrialSettings(BASE, "fingerprint", 1, "float32")
ONE = TrialResources(cpus=1, gpus=0.0)


def clips(n: int = 200) -> LabelledClips:
    random = np.random.default_rng(0)
    features = random.normal(size=(n, 12, 16)).astype(np.float32)
    return LabelledClips(features, np.arange(n) % 8, np.arange(n) % 2, np.arange(n), EMOTIONS)


class Pending:
    """Hands out a list of trials; those of the candidates in `unwanted` may be stopped."""

    def __init__(self, trials: list[Trial]):
        self.trials = trials
        self.data = ray.put(clips())
        self.unwanted: set[str] = set()

    def next(self) -> tuple[Trial, ray.ObjectRef] | None:
        return (self.trials.pop(0), self.data) if self.trials else None

    def is_finished(self) -> bool:
        return not self.trials

    def is_unwanted(self, trial: Trial) -> bool:
        return trial.candidate.id in self.unwanted


class Witness:
    """Remembers what trials did; may act when the first epoch ends."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, int]] = []
        self.results: dict[TrialKey, TrialResult] = {}
        self.reasons: dict[TrialKey, str] = {}
        self.retries: list[str] = []
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

    def retried(self, trial: Trial, reason: str) -> None:
        self.retries.append(reason)

    def failed(self, trial: Trial, reason: str) -> None:
        self.reasons[trial.key] = reason

    def stopped(self, trial: Trial) -> None:
        self.events.append(("stopped", trial.fold, 0))


def trial(candidate: Candidate, fold: int) -> Trial:
    return Trial(candidate, fold, 0, trial_seed(0, fold))


def test_a_trial_on_ray_gives_what_the_loop_alone_gives_and_epochs_arrive_in_order(local_ray: None) -> None:
    witness = Witness()
    candidate = make_candidate({"lr": 0.01})
    run_trials(Pending([trial(candidate, fold) for fold in (0, 1)]), SETTINGS, ONE, [witness])
    for fold in (0, 1):
        *_, alone = train_trial(trial(candidate, fold), clips(), load_inputs(clips(), "cpu"), SETTINGS)
        found = witness.results[candidate.id, fold, 0]
        np.testing.assert_allclose(found.train_loss, alone.train_loss, rtol=1e-5)
        assert found.initial_weights_sha256 == alone.initial_weights_sha256
        assert [event for event in witness.events if event[1] == fold] == [
            ("started", fold, 0), *(("epoch", fold, epoch) for epoch in range(1, 5)), ("finished", fold, 4),
        ]  # fmt: skip


def test_a_failing_trial_is_told_with_its_reason_and_the_others_finish(local_ray: None) -> None:
    witness = Witness()
    broken, sound = Candidate("broken", {"colour": 1}), make_candidate({"lr": 0.01})
    work = Pending([trial(broken, 0), trial(sound, 0), trial(sound, 1)])
    run_trials(work, SETTINGS, ONE, [witness], retries=1)
    assert set(witness.results) == {(sound.id, 0, 0), (sound.id, 1, 0)}
    assert witness.reasons == {("broken", 0, 0): "KeyError: 'colour'"}
    assert witness.events.count(("started", 0, 0)) == 3  # once more for the broken one


def test_a_trial_whose_process_is_killed_starts_again_and_ends_the_same(local_ray: None) -> None:
    candidate = make_candidate({"lr": 0.01})
    killed = Witness()
    killed.kill_once = True
    run_trials(Pending([trial(candidate, 0)]), SETTINGS, ONE, [killed])
    assert [event for event in killed.events if event[0] == "started"] == [("started", 0, 0)] * 2
    assert killed.reasons == {}
    assert len(killed.retries) == 1
    assert "died" in killed.retries[0]
    *_, undisturbed = train_trial(trial(candidate, 0), clips(), load_inputs(clips(), "cpu"), SETTINGS)
    found = killed.results[candidate.id, 0, 0]
    np.testing.assert_allclose(found.train_loss, undisturbed.train_loss, rtol=1e-5)
    assert found.initial_weights_sha256 == undisturbed.initial_weights_sha256


def test_a_trial_that_is_no_longer_wanted_stops_at_its_next_epoch_and_frees_its_place(local_ray: None) -> None:
    class Fickle(Witness):
        def epoch(self, trial: Trial, scores: EpochScores) -> None:
            super().epoch(trial, scores)
            if scores.epoch == 2:
                work.unwanted.add(trial.candidate.id)

    dropped, kept = make_candidate({"lr": 0.01}), make_candidate({"lr": 0.02})
    long = TrialSettings(replace(BASE, training=TrainingConfig(epochs=200)), "fingerprint", 1, "float32")
    work, witness = Pending([trial(dropped, 0), trial(kept, 1)]), Fickle()
    run_trials(work, long, ONE, [witness], n_slots=lambda: 1)
    epochs = [epoch for kind, fold, epoch in witness.events if kind == "epoch" and fold == 0]
    assert epochs == [1, 2, 3]
    assert witness.events.index(("stopped", 0, 0)) < witness.events.index(("started", 1, 0))
    assert witness.results == {}


def test_a_gpu_that_runs_out_of_memory_is_told_as_such_with_what_to_do(tmp_path: Path) -> None:
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4 GiB"
    (tmp_path / "error.txt").write_text(f"Failure # 1\n  File x, line 1\n{said}\n")
    found = _reason(SimpleNamespace(error_file=str(tmp_path / "error.txt")))
    assert found.startswith(
        "the GPU ran out of memory; give each trial more of it (--compute.gpus-per-trial) or smaller"
    )
    assert said in found


def test_a_cluster_has_room_for_as_many_trials_as_fit_on_its_nodes(local_ray: None) -> None:
    assert count_slots(TrialResources(1, 0.0)) == 2
    assert count_slots(TrialResources(2, 0.0)) == 1
    assert count_slots(TrialResources(1, 0.5)) == 0


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
