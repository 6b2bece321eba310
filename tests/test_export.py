import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from ser_tune.config import FeatureConfig, ModelConfig
from ser_tune.dataset import Standardisation
from ser_tune.errors import InputError, RunError
from ser_tune.export import Bundle, load_bundle, save_bundle
from ser_tune.model import EmotionNetwork, build_network

FEATURES = FeatureConfig(sample_rate=8000, duration_s=0.5, n_mfcc=4, n_fft=1024, hop_length=256, level="rms")
MODEL = ModelConfig(channels=(2, 3), hidden=(7, 5), dropout=0.1)
Values = dict[str, Any]


def make_bundle() -> tuple[Bundle, EmotionNetwork]:
    random = np.random.default_rng(0)
    mean, std = random.normal(0, 20, 12).astype(np.float32), random.uniform(1, 20, 12).astype(np.float32)
    card = {"protocol": "speaker", "corpora": {"tess": 9}, "test": None}
    torch.manual_seed(0)
    network = build_network(MODEL, FEATURES.n_coefficients, FEATURES.n_frames, 3)
    return Bundle(FEATURES, ("sad", "happy", "calm"), Standardisation(mean, std), MODEL, card), network


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment") / "bundle"
    save_bundle(folder, *make_bundle())
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "bundle"))


def _change(folder: Path, change: Callable[[Values], object]) -> None:
    """Rewrite bundle.json as a stranger might have."""
    values = json.loads((folder / "bundle.json").read_text())
    change(values)
    (folder / "bundle.json").write_text(json.dumps(values))


def _contiguous(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}


def _replace_weights(folder: Path, data: bytes) -> None:
    """Put other weights into the bundle, with a matching checksum."""
    (folder / "model.safetensors").write_bytes(data)
    _change(folder, lambda values: values.update(weights_sha256=hashlib.sha256(data).hexdigest()))


def test_what_is_loaded_is_what_was_saved(saved: Path) -> None:
    bundle, network = make_bundle()
    loaded, loaded_network = load_bundle(saved)
    assert (loaded.features, loaded.model, loaded.emotions) == (FEATURES, MODEL, ("sad", "happy", "calm"))
    assert loaded.score_card == bundle.score_card
    np.testing.assert_array_equal(loaded.standardisation.mean, bundle.standardisation.mean)
    np.testing.assert_array_equal(loaded.standardisation.std, bundle.standardisation.std)
    assert not loaded_network.training
    features = torch.randn(2, FEATURES.n_coefficients, FEATURES.n_frames)
    torch.testing.assert_close(loaded_network(features), network.eval()(features), rtol=0, atol=0)


def test_a_bundle_is_two_files_that_other_tools_read(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["bundle.json", "model.safetensors"]
    weights = safetensors.torch.load_file(saved / "model.safetensors")
    _, network = make_bundle()
    assert weights.keys() == network.state_dict().keys()
    values = json.loads((saved / "bundle.json").read_text())
    assert values["emotions"] == ["sad", "happy", "calm"]
    assert (values["n_coefficients"], values["n_frames"]) == (12, 16)
    assert values["weights_sha256"] == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()


def test_saving_twice_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path, *make_bundle())
    for name in ("bundle.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()


def test_loading_draws_no_random_numbers(saved: Path) -> None:
    torch.manual_seed(5)
    expected = torch.random.get_rng_state()
    load_bundle(saved)
    assert torch.equal(torch.random.get_rng_state(), expected)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(folder: Path) -> None:
    bundle, network = make_bundle()
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    with pytest.raises(RunError, match=r"the final weights are not finite: .* smaller --space.lr"):
        save_bundle(folder, bundle, network)
    load_bundle(folder)
    _replace_weights(folder, safetensors.torch.save(_contiguous(network)))
    with pytest.raises(InputError, match=r"layers.0.weight is 'not finite'"):
        load_bundle(folder)


def test_a_kill_between_the_two_files_is_noticed(folder: Path) -> None:
    _, network = make_bundle()
    with torch.no_grad():
        next(network.parameters()).add_(1)
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(_contiguous(network)))
    with pytest.raises(InputError, match=r"does not hold the weights that bundle.json names"):
        load_bundle(folder)


@pytest.mark.parametrize("missing", ["bundle.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"has no {missing}; expected a bundle, such as experiments/NAME/bundle"):
        load_bundle(folder)


def test_what_is_no_folder_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="is not a folder; expected a bundle"):
        load_bundle(folder / "bundle.json")
    with pytest.raises(InputError, match="does not exist; expected a bundle"):
        load_bundle(folder / "nowhere")


def _set(path: str, value: object) -> Callable[[Values], object]:
    *parents, last = path.split(".")

    def change(values: Values) -> None:
        for parent in parents:
            values = values[parent]
        values[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format_version", 2, "format_version is 2; expected 1; use the version of ser_tune that wrote it"),
        ("format_version", True, "format_version is True; expected 1"),
        ("features_version", 10**6, "features_version is 1000000; expected"),
        ("features", [], r"features is \[\]; expected an object of sample_rate, "),
        ("features.sample_rate", 8000.5, "features.sample_rate is 8000.5; expected a value like 24000"),
        ("features.sample_rate", -1, "--features.sample-rate is -1; expected 4000 to 192000 Hz"),
        ("features.duration_s", float("nan"), "is damaged: 'NaN is no JSON'"),
        ("features.duration_s", 10**300, "--features.duration-s is 1000"),
        ("score_card", {"test": {"uar": float("inf")}}, "is damaged: 'Infinity is no JSON'"),
        ("features.level", "loud", "features.level is 'loud'; expected one of peak, rms, none"),
        ("features.extra", 1, "expected an object of sample_rate"),
        ("model.channels", [2, 3, 4], r"model.channels is \[2, 3, 4\]; expected a value like"),
        ("model.channels", [2, "3"], "model.channels is"),
        ("model.hidden", [0, 5], "--model.hidden is"),
        ("emotions", "sad", "emotions is 'sad'; expected two or more of neutral, "),
        ("emotions", ["sad", "sad", "calm"], "emotions is .* each once"),
        ("emotions", ["sad", "bored", "calm"], "emotions is"),
        ("emotions", ["sad", ["x"], "calm"], "emotions is"),
        ("emotions", ["sad", "calm"], r"layers.13.weight is .*\[3, 5\]'; expected .*\[2, 5\]|bytes"),
        ("standardisation", None, "standardisation is None; expected an object of mean and std"),
        ("standardisation.mean", [0.0], r"standardisation.mean is \[0.0\]; expected a list of 12 numbers"),
        ("standardisation.mean", [1e300] * 12, r"standardisation.mean is 1e\+300; expected finite numbers"),
        ("standardisation.mean", [True] * 12, "standardisation.mean is True; expected finite numbers"),
        ("standardisation.std", [0.0] * 12, "standardisation.std is 0.0; expected finite numbers, above 0"),
        ("standardisation.std", [1e-60] * 12, "standardisation.std is 1e-60"),
        ("standardisation.mean", [10**400] * 12, "standardisation.mean is 1000"),
        ("n_coefficients", 39, "n_coefficients is 39; expected 12"),
        ("n_frames", 94, "n_frames is 94; expected 16"),
        ("score_card", "good", "score_card is 'good'; expected an object"),
        ("weights_sha256", "0" * 64, "does not hold the weights"),
        ("weights_sha256", None, "does not hold the weights"),
        ("emotions", ["\x1b[31m" * 99], r"emotions is \['\\x1b\[31m"),
    ],
)
def test_each_field_of_a_stranger_is_checked(folder: Path, path: str, value: object, message: str) -> None:
    _change(folder, _set(path, value))
    with pytest.raises(InputError, match=message) as refusal:
        load_bundle(folder)
    assert len(str(refusal.value)) < 600
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize(
    "key", ["features", "features_version", "emotions", "standardisation", "model", "n_frames", "weights_sha256"]
)
def test_a_missing_field_is_named(folder: Path, key: str) -> None:
    _change(folder, lambda values: values.pop(key))
    with pytest.raises(InputError, match=f"has no '{key}'; export the bundle again"):
        load_bundle(folder)


@pytest.mark.parametrize("text", [b" ", b"{", b"\xff\xfe", b"[" * 100_000, b'{"n": ' + b"9" * 5000 + b"}"])
def test_damaged_json_is_one_line(folder: Path, text: bytes) -> None:
    (folder / "bundle.json").write_bytes(text)
    with pytest.raises(InputError, match=r"bundle.json is damaged"):
        load_bundle(folder)


@pytest.mark.parametrize("field", ["features", "emotions", "score_card", "weights_sha256", "format_version"])
@pytest.mark.parametrize("depth", [100, 900, 990])
def test_nested_values_are_refused_or_not_looked_into(folder: Path, field: str, depth: int) -> None:
    _change(folder, _set(field, "@"))
    text = (folder / "bundle.json").read_text().replace('"@"', "[" * depth + "]" * depth)
    (folder / "bundle.json").write_text(text)
    with pytest.raises(InputError, match=r"bundle\.json"):
        load_bundle(folder)


def test_a_key_that_is_there_twice_is_refused(folder: Path) -> None:
    text = (folder / "bundle.json").read_text()
    for key in ("format_version", "dropout"):
        (folder / "bundle.json").write_text(text.replace(f'"{key}":', f'"{key}": 1, "{key}":', 1))
        with pytest.raises(InputError, match="a key is there twice"):
            load_bundle(folder)


def test_a_number_that_json_reads_as_infinity_is_refused(folder: Path) -> None:
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"duration_s": 0.5', '"duration_s": 1e999'))
    with pytest.raises(InputError, match=r"--features\.duration-s is inf"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors"])
def test_a_file_of_a_bundle_may_be_a_link_but_to_a_file(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "blob")
    (folder / name).symlink_to("blob")
    load_bundle(folder)
    os.mkfifo(folder / "pipe")
    for target in ("pipe", "/dev/zero", name, "nowhere", "."):
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        with pytest.raises(InputError, match=f"has no {name}"):
            load_bundle(folder)


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors"])
def test_a_huge_file_is_refused_by_its_size(folder: Path, name: str) -> None:
    os.truncate(folder / name, 10 * 2**30)  # takes no room on the disk
    with pytest.raises(InputError, match="has 10737418240 bytes; "):
        load_bundle(folder)


def test_a_header_that_lies_is_refused(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    first, second, *_ = (name for name in header if name != "__metadata__")
    offsets = header[first]["data_offsets"]
    lies: list[Values] = [
        {first: header[first] | {"data_offsets": [0, 2**62]}},
        {first: header[first] | {"data_offsets": offsets[::-1]}},
        {first: header[first] | {"shape": [2**32, 2**32]}},
        {second: header[second] | {"data_offsets": offsets}},
        {"extra": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [len(data) - end] * 2}},
        {"extra": {"dtype": "F8_E8M0", "shape": [0], "data_offsets": [len(data) - end] * 2}},
    ]
    for lie in lies:
        written = json.dumps(header | lie).encode()
        _replace_weights(folder, len(written).to_bytes(8, "little") + written + data[end:])
        with pytest.raises(InputError, match=r"is no safetensors file|one of its tensors is 'extra'"):
            load_bundle(folder)


def test_json_that_is_no_object_is_refused(folder: Path) -> None:
    (folder / "bundle.json").write_text("[1]")
    with pytest.raises(InputError, match="expected an object"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("layers.0.bias"), "layers.0.bias is None; expected a tensor"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "one of its tensors is 'extra'; expected only layers.0"),
        (lambda weights: weights.update({"layers.0.bias": torch.zeros(2, 1)}), r"'F32 \[2, 1\]'; expected F32 \[2\]"),
        (
            lambda weights: weights.update({"layers.0.bias": torch.zeros(2, dtype=torch.int32)}),
            r"'I32 \[2\]'; expected F32 \[2\]",
        ),
    ],
)
def test_other_tensors_than_the_network_has_are_refused(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights)
    # A comment in the header brings a smaller set of tensors up to the size that is expected.
    _replace_weights(folder, safetensors.torch.save(weights, {"comment": "x" * 64}))
    with pytest.raises(InputError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize("n_bytes", [0, 7, 500])
def test_weights_of_another_size_are_refused_before_they_are_read(folder: Path, n_bytes: int) -> None:
    _replace_weights(folder, (folder / "model.safetensors").read_bytes()[:n_bytes])
    with pytest.raises(
        InputError, match=f"has {n_bytes} bytes; expected the network in bundle.json, of [0-9]+, and a header"
    ):
        load_bundle(folder)


def test_a_file_of_the_right_size_that_is_no_safetensors_is_refused(folder: Path) -> None:
    size = (folder / "model.safetensors").stat().st_size
    for data in (b"\0" * size, b"\xff" * size, b"PK\x03\x04".ljust(size, b"\0"), b"\x80\x04".ljust(size, b".")):
        _replace_weights(folder, data)
        with pytest.raises(InputError, match="is no safetensors file"):
            load_bundle(folder)


@pytest.mark.parametrize(
    ("features", "model", "message"),
    [
        (FeatureConfig(), ModelConfig(channels=(1024, 1024), hidden=(8192, 8192)), "asks for [0-9]+ weights; expected"),
        (FeatureConfig(duration_s=60.0, hop_length=1), ModelConfig(), "asks for [0-9]+ values for one clip; expected"),
    ],
)
def test_an_absurdly_large_network_is_refused_without_being_built(
    folder: Path, features: FeatureConfig, model: ModelConfig, message: str
) -> None:
    changed = {
        "features": vars(features),
        "model": vars(model),
        "n_coefficients": features.n_coefficients,
        "n_frames": features.n_frames,
        "standardisation": {"mean": [0.0] * features.n_coefficients, "std": [1.0] * features.n_coefficients},
    }
    _change(folder, lambda values: values.update(changed))
    with pytest.raises(InputError, match=message):
        load_bundle(folder)
