"""Frozen nested dataclasses, checked where they are made; the only home of defaults.

A field's docstring is its --help text. Impossible values raise InputError with the flag's name.
"""

from ser_tune.config.checks import require, shown, to_json
from ser_tune.config.commands import (
    AuditConfig,
    ComputeConfig,
    ExtractConfig,
    MethodConfig,
    Metric,
    SearchConfig,
    SelectionConfig,
)
from ser_tune.config.data import EMOTIONS, DataConfig, Emotion, FeatureConfig, SplitConfig
from ser_tune.config.learning import ModelConfig, Setting, TrainingConfig
from ser_tune.config.space import Choices, Dimension, Range, SpaceConfig, Value, resolve

__all__ = [
    "EMOTIONS",
    "AuditConfig",
    "Choices",
    "ComputeConfig",
    "DataConfig",
    "Dimension",
    "Emotion",
    "ExtractConfig",
    "FeatureConfig",
    "MethodConfig",
    "Metric",
    "ModelConfig",
    "Range",
    "SearchConfig",
    "SelectionConfig",
    "Setting",
    "SpaceConfig",
    "SplitConfig",
    "TrainingConfig",
    "Value",
    "require",
    "resolve",
    "shown",
    "to_json",
]
