"""The bundle: a folder with the network's weights (safetensors) and bundle.json, all that predicting needs.

Both files are replaced atomically, bundle.json last. A bundle is read as a stranger's: nothing in it is run, every
field is checked, and no more is allocated than the network it describes needs. Links are followed, to regular files.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

import numpy as np
import safetensors
import safetensors.torch
import torch

from ser_tune.config import EMOTIONS, Emotion, FeatureConfig, ModelConfig, to_json
from ser_tune.dataset import FloatArray, Standardisation
from ser_tune.errors import InputError, RunError
from ser_tune.features import FEATURES_VERSION
from ser_tune.files import read_regular, write_atomically, write_json
from ser_tune.model import EmotionNetwork, build_network

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
JSON_FILE = "bundle.json"
MAX_PARAMETERS = 2**28  # 1 GiB of weights; the published network has 3.4 million
MAX_VALUES_PER_CLIP = 2**26  # 256 MiB in one layer for one clip; the published network has 0.1 million
_MAX_JSON_BYTES = 2**20  # those of searches have a few kilobytes; as objects it takes 30 times the room
_HEADER_BYTES = 2**20

Config = TypeVar("Config", FeatureConfig, ModelConfig)


@dataclass(frozen=True)
class Bundle:
    """How to turn a recording into the network's input, and its outputs into emotions.

    `score_card` tells what the network is worth; predict shows of it protocol, corpora{}, synthetic, and test{}:
    n, accuracy, accuracy_interval [low, high], uar, uar_interval; test is null until it was tested.
    """

    features: FeatureConfig
    emotions: tuple[Emotion, ...]
    standardisation: Standardisation
    model: ModelConfig
    score_card: dict[str, Any]


def save_bundle(folder: Path, bundle: Bundle, network: EmotionNetwork) -> None:
    """Write the bundle; RunError where the weights are not finite."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise RunError("the final weights are not finite: its training diverged; use a smaller --space.lr")
    written = safetensors.torch.save(weights)
    write_atomically(folder / WEIGHTS_FILE, lambda temporary: temporary.write_bytes(written))
    values = {
        "format_version": FORMAT_VERSION,
        "features": to_json(bundle.features),
        "features_version": FEATURES_VERSION,
        "emotions": list(bundle.emotions),
        "standardisation": {
            "mean": bundle.standardisation.mean.tolist(),
            "std": bundle.standardisation.std.tolist(),
        },
        "model": to_json(bundle.model),
        "n_coefficients": bundle.features.n_coefficients,
        "n_frames": bundle.features.n_frames,
        "score_card": bundle.score_card,
        "weights_sha256": hashlib.sha256(written).hexdigest(),
    }
    write_json(folder / JSON_FILE, values)


def load_bundle(folder: Path) -> tuple[Bundle, EmotionNetwork]:
    """Return the bundle and its network, in evaluation mode; InputError where either file is not as expected."""
    for name in (JSON_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            found = f"has no {name}" if folder.is_dir() else "is not a folder" if folder.exists() else "does not exist"
            raise InputError(f"{folder} {found}; expected a bundle, such as experiments/NAME/bundle")
    source = folder / JSON_FILE
    values = _read_values(source)
    features = _config(FeatureConfig, values, "features", source)
    model = _config(ModelConfig, values, "model", source)
    _require_equal(values, "features_version", FEATURES_VERSION, source)
    _require_equal(values, "n_coefficients", features.n_coefficients, source)
    _require_equal(values, "n_frames", features.n_frames, source)
    card = values["score_card"]
    if not isinstance(card, dict):
        _refuse(source, "score_card", card, "an object")
    emotions = _emotions(values, source)
    bundle = Bundle(features, emotions, _standardisation(values, features.n_coefficients, source), model, card)
    return bundle, _load_network(bundle, folder / WEIGHTS_FILE, values["weights_sha256"])


def _refuse(source: Path, field: str, found: object, expected: str) -> NoReturn:
    shown = ascii(found)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    raise InputError(f"{source} cannot be used: {field} is {shown}; expected {expected}")


def _read_values(source: Path) -> dict[str, Any]:
    """The JSON object of bundle.json, with all the keys of this format."""
    data = read_regular(source, range(1, _MAX_JSON_BYTES), "a bundle's JSON")
    try:
        values = json.loads(data, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is damaged: {str(error)[:200]!a}; export the bundle again") from error
    if not isinstance(values, dict):
        _refuse(source, "its value", values, "an object")
    _require_equal(values, "format_version", FORMAT_VERSION, source)
    expected = (
        "features features_version emotions standardisation model n_coefficients n_frames score_card weights_sha256"
    )
    for key in expected.split():
        if key not in values:
            raise InputError(f"{source} has no {key!r}; export the bundle again")
    return values


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError where a key is there twice, of which programs take the one or the other."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"a key is there twice in {list(values)}")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _require_equal(values: dict[str, Any], field: str, expected: int, source: Path) -> None:
    found = values.get(field)
    if type(found) is not int or found != expected:
        _refuse(source, field, found, f"{expected}; use the version of ser_tune that wrote it, or export it again")


def _config(kind: type[Config], values: dict[str, Any], field: str, source: Path) -> Config:
    """The configuration under `field`; the default configuration is the example of names and types."""
    example, found = to_json(kind()), values[field]
    if not isinstance(found, dict) or found.keys() != example.keys():
        _refuse(source, field, found, f"an object of {', '.join(example)}")
    for name, value in found.items():
        if not _is_like(value, example[name]):
            _refuse(source, f"{field}.{name}", value, f"a value like {json.dumps(example[name])}")
        allowed = get_args(get_type_hints(kind)[name]) if isinstance(value, str) else ()
        if allowed and value not in allowed:
            _refuse(source, f"{field}.{name}", value, f"one of {', '.join(allowed)}")
    settings: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in found.items()}
    try:
        return kind(**settings)
    except InputError as error:
        raise InputError(f"{source} cannot be used: {str(error)[:200]}") from error


def _is_like(value: object, example: object) -> bool:
    if isinstance(value, list) and isinstance(example, list):
        return len(value) == len(example) and all(map(_is_like, value, example))
    return type(value) is type(example) or (type(example) is float and type(value) is int)


def _emotions(values: dict[str, Any], source: Path) -> tuple[Emotion, ...]:
    found = values["emotions"]
    names = found if isinstance(found, list) and all(isinstance(name, str) for name in found) else []
    if len(names) < 2 or len(set(names)) != len(names) or not set(names) <= set(EMOTIONS):
        _refuse(source, "emotions", found, f"two or more of {', '.join(EMOTIONS)}, each once")
    return tuple(names)


def _standardisation(values: dict[str, Any], n_coefficients: int, source: Path) -> Standardisation:
    found = values["standardisation"]
    if not isinstance(found, dict):
        _refuse(source, "standardisation", found, "an object of mean and std")
    columns: list[FloatArray] = []
    for name in ("mean", "std"):
        column = found.get(name)
        if not isinstance(column, list) or len(column) != n_coefficients:
            _refuse(source, f"standardisation.{name}", column, f"a list of {n_coefficients} numbers")
        for value in column:
            # A number that float32 rounds to infinity, or a spread that it rounds to 0, would make features of nan.
            usable = type(value) in (int, float) and abs(value) < 1e30 and (name == "mean" or value > 1e-30)
            if not usable:
                _refuse(source, f"standardisation.{name}", value, "finite numbers, above 0 for std")
        columns.append(np.array(column, dtype=np.float32))
    return Standardisation(*columns)


def _load_network(bundle: Bundle, source: Path, expected_sha256: object) -> EmotionNetwork:
    """The network with the weights in `source`, which must be just what its layers need."""
    network = _describe_network(bundle, source.parent / JSON_FILE)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    n_bytes = 4 * sum(map(math.prod, shapes.values()))
    fitting = range(n_bytes + 1, n_bytes + _HEADER_BYTES)
    data = read_regular(source, fitting, f"the network in {JSON_FILE}, of {n_bytes}, and a header")
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        raise InputError(f"{source} does not hold the weights that {JSON_FILE} names; export the bundle again")
    network.load_state_dict(_read_tensors(data, shapes, source), assign=True)
    return network.eval()


def _read_tensors(data: bytes, shapes: dict[str, tuple[int, ...]], source: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; InputError unless they are finite float32 of just these names and shapes."""
    try:
        found = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{source} is no safetensors file: {str(error)[:200]!a}; export the bundle again") from error
    for name in sorted(found.keys() - shapes.keys()):
        _refuse(source, "one of its tensors", name, f"only {', '.join(shapes)}")
    tensors = {}
    for name, shape in shapes.items():
        if name not in found:
            _refuse(source, name, None, f"a tensor {list(shape)}")
        dtype, found_shape = found[name]["dtype"], found[name]["shape"]
        if (dtype, tuple(found_shape)) != ("F32", shape):
            _refuse(source, name, f"{dtype} {found_shape}", f"F32 {list(shape)}")
        values = np.frombuffer(found[name]["data"], dtype="<f4").reshape(shape)
        if not np.isfinite(values).all():
            _refuse(source, name, "not finite", "finite numbers: its training diverged")
        tensors[name] = torch.tensor(values)
    return tensors


def _describe_network(bundle: Bundle, source: Path) -> EmotionNetwork:
    """The network without memory for its weights; InputError where it would be absurdly large."""
    features, model = bundle.features, bundle.model
    with torch.device("meta"):
        network = build_network(model, features.n_coefficients, features.n_frames, len(bundle.emotions))
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    for what, found, most in (
        ("values for one clip", values_per_clip(features, model), MAX_VALUES_PER_CLIP),
        ("weights", n_parameters, MAX_PARAMETERS),
    ):
        if found > most:
            raise InputError(f"{source} cannot be used: it asks for {found} {what}; expected {most} at most")
    return network


def values_per_clip(features: FeatureConfig, model: ModelConfig) -> int:
    """How many values the widest step from a clip to its emotions has: the spectra, or the first convolution."""
    return features.n_frames * max(features.n_fft, max(model.channels) * features.n_coefficients)
