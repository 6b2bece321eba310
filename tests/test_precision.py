import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training import learnable_clips, settings

from ser_tune.candidates import make_candidate, trial_seed
from ser_tune.config import EMOTIONS, ComputeConfig, FeatureConfig, ModelConfig, Setting, TrainingConfig
from ser_tune.errors import InputError
from ser_tune.experiment import TrialResult
from ser_tune.precision import choose_precision, fastest, measure
from ser_tune.searcher import TrialResources
from ser_tune.training import load_inputs
from ser_tune.trial import Trial, train_trial

SETTING = Setting(FeatureConfig(duration_s=0.5), ModelConfig(channels=(4, 8), hidden=(32, 16)))


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({"float32": 100, "bfloat16": 160}, "bfloat16"),
        ({"float32": 100, "bfloat16": 105}, "float32"),
        ({"float32": 100, "bfloat16": 60}, "float32"),
        ({"float32": 100, "tf32": 200, "bfloat16": 250}, "bfloat16"),
        ({"float32": 100, "tf32": 250, "bfloat16": 200}, "tf32"),
        ({"float32": 100}, "float32"),
    ],
)
def test_another_precision_is_chosen_where_it_is_clearly_faster(speeds: dict[str, float], expected: str) -> None:
    assert fastest(speeds) == expected


def test_each_precision_of_the_device_is_measured() -> None:
    threads = torch.get_num_threads()
    speeds = measure(SETTING, EMOTIONS, 1)
    assert list(speeds) == ["float32", "bfloat16"]
    assert min(speeds.values()) > 0
    assert torch.get_num_threads() == threads


def choose(precision: str, resources: Callable[[], TrialResources]) -> tuple[str, str]:
    training = TrainingConfig(precision=precision)  # type: ignore[arg-type]
    return choose_precision(ComputeConfig(), replace(SETTING, training=training), EMOTIONS, resources)


def test_a_precision_that_is_named_needs_no_cluster() -> None:
    def resources() -> TrialResources:
        raise AssertionError("asked for")

    assert choose("bfloat16", resources) == ("bfloat16", "as asked")
    assert choose("float32", resources) == ("float32", "as asked")


def test_a_search_on_the_processors_of_this_machine_measures_here_while_the_cluster_starts() -> None:
    chosen, why = choose("auto", lambda: TrialResources(1, 0.0))  # nothing that a task could run on
    assert chosen in ("float32", "bfloat16")
    assert re.fullmatch(r"clips per second: float32 \d+, bfloat16 \d+", why)


def test_tf32_is_refused_without_a_gpu() -> None:
    with pytest.raises(InputError, match=r"--training.precision is tf32; expected auto, float32 or bfloat16"):
        choose("tf32", lambda: TrialResources(1, 0.0))


def test_a_trial_in_bfloat16_is_repeatable_is_not_that_in_float32_and_learns_as_well() -> None:
    data = learnable_clips()

    def trained(precision: str) -> TrialResult:
        trial = Trial(make_candidate({"lr": 0.003}), 0, 0, trial_seed(0, 0))
        *_, result = train_trial(trial, data, load_inputs(data, "cpu"), replace(settings(12), precision=precision))
        assert isinstance(result, TrialResult)
        return result

    float32, bfloat16 = trained("float32"), trained("bfloat16")
    assert bfloat16.precision == "bfloat16"
    assert bfloat16.train_loss == trained("bfloat16").train_loss
    assert bfloat16.train_loss != float32.train_loss
    assert bfloat16.initial_weights_sha256 == float32.initial_weights_sha256
    assert bfloat16.val_accuracy[-1] > 0.9
    np.testing.assert_allclose(bfloat16.train_loss, float32.train_loss, atol=0.05)
