"""The search space: for each hyperparameter a list of values, or a range such as log:1e-4..1e-2.

What a hyperparameter may be is what the setting it changes may be; `resolve` puts it there.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from ser_tune.config.checks import require, shown
from ser_tune.config.learning import Setting
from ser_tune.errors import InputError

Value = int | float | str
Values = tuple[int | float | str, ...]
_RANGE = re.compile(r"(?:(log|int|log-int):)?([^:]+)\.\.([^:]+)")

_PLACES = {
    **dict.fromkeys(("duration_s", "pad", "trim_db", "n_mfcc", "level"), "features"),
    **dict.fromkeys(("channels", "hidden", "dropout"), "model"),
    **dict.fromkeys(("lr", "batch_size", "optimizer", "weight_decay", "label_smoothing"), "training"),
    **dict.fromkeys(("time_mask", "frequency_mask"), "training"),
}
_WHOLE = ("n_mfcc", "channels", "hidden", "batch_size", "time_mask", "frequency_mask")
_WORDS = ("pad", "level", "optimizer")


@dataclass(frozen=True)
class Choices:
    """A list of values."""

    values: Values

    @property
    def extremes(self) -> Values:
        return self.values


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included, evenly spread or evenly in their logarithm."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def extremes(self) -> Values:
        return self.at(0.0), self.at(1.0)

    def at(self, position: float) -> int | float:
        """The value at a position [0..1]; whole numbers get equal shares of it, others four digits."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = low * (high / low) ** position if self.log else low + position * (high - low)
        value = round(value) if self.whole else float(f"{value:.4g}")
        return type(value)(min(max(value, self.low), self.high))


Dimension = Choices | Range


@dataclass(frozen=True)
class SpaceConfig:
    lr: Annotated[Values, shown("VALUE ...|RANGE")] = (0.01, 0.005, 0.001, 0.0005)
    """Learning rates: values, or a range such as log:1e-4..1e-2 (default: 0.01 0.005 0.001 0.0005)."""
    batch_size: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Batch sizes: values, or a range such as log-int:16..128 (default: --training.batch-size; so on below)."""
    optimizer: Annotated[Values | None, shown("NAME ...")] = None
    """Optimisers: some of adam adamw sgd."""
    weight_decay: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Weight decays, such as log:1e-6..1e-2."""
    dropout: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Dropout after each pooling, such as 0.1..0.5."""
    label_smoothing: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Label smoothing, such as 0 0.1."""
    time_mask: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Longest masked run of frames, such as int:0..30."""
    frequency_mask: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Longest masked run of MFCC, such as int:0..4."""
    channels: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Channels of the first convolution, such as log-int:8..64; the second has twice as many."""
    hidden: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Width of the first hidden layer, such as log-int:16..256; the second has half of it."""
    duration_s: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Lengths that clips are cut or padded to, such as 1.5 2 3 [s]; each is extracted once."""
    pad: Annotated[Values | None, shown("NAME ...")] = None
    """How shorter clips are filled: zero loop."""
    trim_db: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """Silence trimming, such as 0 30 [dB]; 0: none."""
    n_mfcc: Annotated[Values | None, shown("VALUE ...|RANGE")] = None
    """MFCC per frame, such as 13 20."""
    level: Annotated[Values | None, shown("NAME ...")] = None
    """Level normalisation: some of peak rms none."""

    def __post_init__(self) -> None:
        self.dimensions()

    def dimensions(self) -> dict[str, Dimension]:
        """What each searched hyperparameter may be, in the order of the fields; InputError if it is not clear."""
        given = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: _parse(name, values) for name, values in given.items() if values is not None}

    def check(self, base: Setting) -> None:
        """Raise InputError where a value is impossible, by itself or with the settings that all candidates share."""
        for name, dimension in self.dimensions().items():
            for value in dimension.extremes:
                try:
                    resolve(base, {name: value})
                except InputError as error:
                    own = f"--{_PLACES[name]}.{name.replace('_', '-')} is "
                    fault, _, expected = str(error).partition("; ")
                    said = f"is {value}; {expected}" if fault.startswith(own) else f"{value} does not fit: {error}"
                    raise InputError(f"--{_flag(name)} {said}") from error


def resolve(base: Setting, hyperparameters: Mapping[str, Any]) -> Setting:
    """The base with a candidate's hyperparameters in their places; InputError where a value is impossible."""
    changes: dict[str, dict[str, Any]] = {}
    for name, value in hyperparameters.items():
        if name == "channels":
            value = (value, 2 * value)
        elif name == "hidden":
            value = (value, max(1, value // 2))
        changes.setdefault(_PLACES[name], {})[name] = value
    parts = {part: dataclasses.replace(getattr(base, part), **values) for part, values in changes.items()}
    return dataclasses.replace(base, **parts)


def _flag(name: str) -> str:
    return f"space.{name.replace('_', '-')}"


def _parse(name: str, values: Values) -> Dimension:
    flag = _flag(name)
    require(len(values) > 0, flag, "empty", f"one value or more, or one {_example(name)}")
    matches = [_RANGE.fullmatch(value) if isinstance(value, str) else None for value in values]
    if len(values) == 1 and matches[0] and name not in _WORDS:
        kind, *ends = matches[0].groups()
        return _parse_range(name, str(values[0]), kind or "", ends)
    alone = name in _WORDS or not any(matches)
    require(alone, flag, " ".join(map(str, values)), "one range by itself, or values")
    parsed = tuple(_parse_value(name, value) for value in values)
    require(len(set(parsed)) == len(parsed), flag, " ".join(map(str, values)), "each value once")
    return Choices(parsed)


def _parse_range(name: str, text: str, kind: str, ends: list[str]) -> Range:
    whole, log = kind.endswith("int"), kind.startswith("log")
    try:
        low, high = (float(end) for end in ends)
    except ValueError:
        low = high = math.nan
    flag, expected = _flag(name), f"one {_example(name)}: two numbers, the lower one first"
    require(math.isfinite(low) and math.isfinite(high) and low < high, flag, text, expected)
    require(not log or low > 0, flag, text, "numbers above 0 in a range of logarithms")
    require(not whole or (low.is_integer() and high.is_integer()), flag, text, "whole numbers after int:")
    require(whole or name not in _WHOLE, flag, text, f"whole numbers: {'log-' * log}int:{ends[0]}..{ends[1]}")
    return Range(low, high, log, whole)


def _parse_value(name: str, value: Value) -> Value:
    if name in _WORDS:
        return str(value)
    wanted = "whole numbers" if name in _WHOLE else "numbers"
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    fits = whole if name in _WHOLE else not isinstance(value, str) and math.isfinite(value)
    require(fits, _flag(name), value, f"{wanted}, or one {_example(name)}")
    return int(value) if name in _WHOLE else float(value)


def _example(name: str) -> str:
    if name in _WORDS:
        return "name"
    return "range such as " + ("int:16..64 or log-int:16..256" if name in _WHOLE else "0.1..0.5 or log:1e-4..1e-2")
