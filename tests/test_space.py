import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tune.config import (
    Choices,
    FeatureConfig,
    MethodConfig,
    ModelConfig,
    Range,
    SearchConfig,
    Setting,
    SpaceConfig,
    TrainingConfig,
    resolve,
)  # fmt: skip
from ser_tune.errors import InputError


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("lr", "log:1e-4..1e-2", Range(1e-4, 1e-2, log=True, whole=False)),
        ("dropout", "0.1..0.5", Range(0.1, 0.5, log=False, whole=False)),
        ("batch_size", "int:16..64", Range(16, 64, log=False, whole=True)),
        ("hidden", "log-int:16..256", Range(16, 256, log=True, whole=True)),
        ("duration_s", "1.5..3", Range(1.5, 3, log=False, whole=False)),
    ],
)
def test_ranges_are_read(field: str, text: str, expected: Range) -> None:
    assert SpaceConfig(**{field: (text,)}).dimensions()[field] == expected


def test_lists_are_read_and_unsearched_hyperparameters_are_no_dimension() -> None:
    space = SpaceConfig(lr=(1, 0.5), optimizer=("adam", "sgd"), batch_size=(16.0, 32))
    assert space.dimensions() == {
        "lr": Choices((1.0, 0.5)), "batch_size": Choices((16, 32)), "optimizer": Choices(("adam", "sgd")),
    }  # fmt: skip
    assert list(SpaceConfig().dimensions()) == ["lr"]


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("lr", ("log:0..1",), "numbers above 0 in a range of logarithms"),
        ("lr", ("1e-2..1e-4",), "two numbers, the lower one first"),
        ("lr", ("0.1..nan",), "two numbers, the lower one first"),
        ("lr", ("0.1..x",), "two numbers, the lower one first"),
        ("lr", ("0.1..0.2", 0.3), "one range by itself, or values"),
        ("lr", ("fast",), "numbers, or one range"),
        ("lr", ("0.1..5",), "learning rates above 0 and at most 1"),
        ("lr", (math.nan,), "numbers"),
        ("lr", (), "one value or more"),
        ("dropout", (), "one value or more"),
        ("dropout", ("0.1..0.95",), "0 to 0.9"),
        ("dropout", (0.1, 0.1), "each value once"),
        ("batch_size", ("16..64",), "whole numbers: int:16..64"),
        ("batch_size", ("log:16..64",), "whole numbers: log-int:16..64"),
        ("batch_size", ("int:1.5..4",), "whole numbers after int:"),
        ("batch_size", (16.5,), "whole numbers"),
        ("batch_size", (0,), "1 to 4096"),
        ("optimizer", ("adm",), "adam, adamw or sgd"),
        ("optimizer", ("a..b",), "adam, adamw or sgd"),
        ("pad", ("zeros",), "zero or loop"),
        ("trim_db", (5,), "0, or 10 to 80 dB"),
        ("channels", (0,), "1 to 1024 each"),
        ("channels", (600,), "1 to 1024 each"),  # the second convolution would have 1200
        ("n_mfcc", (1,), "2 to 128"),
        ("time_mask", ("int:0..1000",), "at most the 94 frames of a clip"),
        ("frequency_mask", (14,), "at most the 13 MFCC"),
    ],
)
def test_what_cannot_be_is_refused_with_the_flag(field: str, values: Any, expected: str) -> None:
    with pytest.raises(InputError, match=rf"--space.{field.replace('_', '-')} is .*; expected .*{expected}"):
        SearchConfig(space=SpaceConfig(**{field: values}), search=MethodConfig(method="random"))


def test_a_value_that_only_the_shared_settings_forbid_is_refused() -> None:
    with pytest.raises(InputError, match=r"--space.duration-s 0.05 does not fit: --features.n-fft is 2048"):
        SearchConfig(features=FeatureConfig(hop_length=64), space=SpaceConfig(duration_s=(0.05, 2)))
    SearchConfig(features=FeatureConfig(hop_length=64, n_fft=1024), space=SpaceConfig(duration_s=(0.05, 2)))


def test_a_grid_has_lists_only_and_a_number_of_its_own() -> None:
    ranged = SpaceConfig(lr=("log:1e-4..1e-2",))
    with pytest.raises(InputError, match=r"--space.lr is log:1e-4..1e-2; .*--search.method random or optuna"):
        SearchConfig(space=ranged)
    SearchConfig(space=ranged, search=MethodConfig(method="random"))
    with pytest.raises(InputError, match=r"--search.candidates is 5"):
        MethodConfig(candidates=5)


def test_a_race_is_off_for_a_grid_and_on_otherwise_unless_asked() -> None:
    assert not MethodConfig().races
    assert MethodConfig(race="paired").races
    assert MethodConfig(method="optuna").races
    assert not MethodConfig(method="random", race="off").races


def test_hyperparameters_land_where_they_belong() -> None:
    found = resolve(
        Setting(),
        {"lr": 0.1, "channels": 8, "hidden": 20, "dropout": 0.5, "duration_s": 3.0, "pad": "loop", "time_mask": 4},
    )
    assert found == Setting(
        FeatureConfig(duration_s=3.0, pad="loop"),
        ModelConfig(channels=(8, 16), hidden=(20, 10), dropout=0.5),
        TrainingConfig(lr=0.1, time_mask=4),
    )
    assert resolve(Setting(), {}) == Setting()


@given(st.floats(0, 1), st.sampled_from(["log:1e-4..1e-2", "0.1..0.5", "int:3..9", "log-int:16..256"]))
def test_every_position_of_a_range_is_a_value_within_it(position: float, text: str) -> None:
    field = "batch_size" if "int" in text else "lr"
    dimension = SpaceConfig(**{field: (text,)}).dimensions()[field]
    assert isinstance(dimension, Range)
    value = dimension.at(position)
    assert dimension.low <= value <= dimension.high
    assert isinstance(value, int) == dimension.whole


def test_a_range_of_logarithms_is_evenly_spread_in_them_and_whole_numbers_get_equal_shares() -> None:
    assert Range(1e-4, 1e-2, log=True, whole=False).at(0.5) == 1e-3
    positions = [(n + 0.5) / 7000 for n in range(7000)]
    found = [Range(3, 9, log=False, whole=True).at(position) for position in positions]
    assert {found.count(value) for value in range(3, 10)} == {1000}
