"""What the checks of all configurations share, and a configuration as JSON."""

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from ser_tune.errors import InputError


def require(condition: bool, flag: str, found: object, expected: str) -> None:
    """Raise InputError, naming the flag, unless the condition holds (it does not for nan)."""
    if not condition:
        raise InputError(f"--{flag} is {found}; expected {expected}")


def shown(metavar: str) -> Any:
    """How --help shows a flag whose docstring tells its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


def to_json(config: Any) -> Any:
    """A configuration as JSON values: paths become strings, tuples lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {item.name: to_json(getattr(config, item.name)) for item in dataclasses.fields(config)}
    if isinstance(config, tuple):
        return [to_json(value) for value in config]
    return str(config) if isinstance(config, Path) else config
