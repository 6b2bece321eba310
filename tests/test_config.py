import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ser_tune.config import (
    ComputeConfig,
    DataConfig,
    FeatureConfig,
    MethodConfig,
    ModelConfig,
    SearchConfig,
    SplitConfig,
    TrainingConfig,
    to_json,
)  # fmt: skip
from ser_tune.errors import InputError


def test_the_defaults_are_the_published_experiment() -> None:
    config = SearchConfig()
    assert config.space.lr == (0.01, 0.005, 0.001, 0.0005)
    assert (config.splits.protocol, config.splits.folds, config.splits.test_fraction) == ("utterance", 4, 0.2)
    assert (config.training.epochs, config.training.batch_size) == (30, 32)
    assert (config.features.n_coefficients, config.features.n_frames) == (39, 94)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        *((SplitConfig(), "folds", value) for value in [1, 0, -4, 51]),
        *((SplitConfig(), "test_fraction", value) for value in [0.0, 0.6, math.nan]),
        *((TrainingConfig(), "epochs", value) for value in [0, -1]),
        *((TrainingConfig(), "batch_size", value) for value in [0, 5000]),
        *((TrainingConfig(), "optimizer", value) for value in ["", "rmsprop"]),
        *((TrainingConfig(), "weight_decay", value) for value in [-0.1, 2.0, math.nan]),
        *((TrainingConfig(), "label_smoothing", value) for value in [-0.1, 1.0, math.nan]),
        *((TrainingConfig(), "time_mask", value) for value in [-1]),
        *((TrainingConfig(), "frequency_mask", value) for value in [-1, 200]),
        *((TrainingConfig(), "lr", value) for value in [0.0, -0.1, 2.0, math.nan, math.inf]),
        *((FeatureConfig(), "pad", value) for value in ["zeros"]),
        *((FeatureConfig(), "trim_db", value) for value in [-30.0, 5.0, 100.0, math.nan]),
        *((MethodConfig(), "repeats", value) for value in [0, 101]),
        *((MethodConfig(), "retries", value) for value in [-1]),
        *((MethodConfig(), "concurrency", value) for value in [0]),
        *((MethodConfig(), "race_level", value) for value in [0.0, 0.6, math.nan]),
        *((ModelConfig(), "dropout", value) for value in [-0.1, 1.0, math.nan]),
        *((ModelConfig(), "channels", value) for value in [(0, 64), (32, 2000)]),
        *((FeatureConfig(), "duration_s", value) for value in [0.0, -1.0, math.nan, math.inf, 0.05, 61.0]),
        *((FeatureConfig(), "n_mfcc", value) for value in [1, 129]),
        *((ComputeConfig(), "gpus_per_trial", value) for value in [-1.0, -2.0, 1.5, math.nan, math.inf]),
        *((ComputeConfig(), "cpus_per_trial", value) for value in [0, -1]),
        *((SearchConfig(), "seed", value) for value in [-1, 2**32]),
        *((SearchConfig(), "experiment", value) for value in ["", "..", "a/b", ".hidden", "a" * 101]),
        (DataConfig(), "corpora", ()),
        *((DataConfig(), "emotions", value) for value in [(), ("sad",), ("sad", "sad")]),
    ],
)
def test_impossible_values_are_refused_with_the_flag(config: Any, field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"--\S*{field.replace('_', '-')} is .*; expected "):
        replace(config, **{field: value})


def test_emotions_keep_their_order_however_they_are_named() -> None:
    assert DataConfig(emotions=("sad", "neutral", "sad")).emotions == ("neutral", "sad")


def test_a_configuration_as_json_has_plain_values_only() -> None:
    values = to_json(SearchConfig(data=DataConfig(data_dir=Path("recordings"))))
    assert values["data"]["data_dir"] == "recordings"
    given = {name: value for name, value in values["space"].items() if value is not None}
    assert given == {"lr": [0.01, 0.005, 0.001, 0.0005]}
