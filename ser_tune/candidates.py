"""The search space -> candidates of a grid or drawn at random, in their order; and the seed each trial gets."""

import hashlib
import itertools
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_tune.config import Choices, SpaceConfig, Value


@dataclass(frozen=True)
class Candidate:
    """One hyperparameter setting; `id` is a hash of it, the same in every experiment."""

    id: str
    hyperparameters: dict[str, Any]

    @property
    def label(self) -> str:
        """The hyperparameters as people read them: `lr=0.001, optimizer=adamw`."""
        return ", ".join(f"{name}={shown(value)}" for name, value in self.hyperparameters.items())


def shown(value: Value) -> str:
    """A hyperparameter's value as people read it."""
    return value if isinstance(value, str) else f"{value:g}"


def make_candidate(hyperparameters: dict[str, Any]) -> Candidate:
    """The candidate of these hyperparameters."""
    canonical = json.dumps(hyperparameters, sort_keys=True)
    return Candidate(hashlib.sha256(canonical.encode()).hexdigest()[:10], hyperparameters)


def list_grid(space: SpaceConfig) -> list[Candidate]:
    """Every combination of the space's lists, the last hyperparameter changing fastest; ties are won by the earlier."""
    lists = {name: dimension.extremes for name, dimension in space.dimensions().items()}
    return [make_candidate(dict(zip(lists, values, strict=True))) for values in itertools.product(*lists.values())]


def draw_candidates(space: SpaceConfig, n: int, seed: int) -> list[Candidate]:
    """`n` candidates at random, no two alike; fewer where the space holds fewer. More begin with the same ones."""
    dimensions = space.dimensions()
    lists = [dimension.values for dimension in dimensions.values() if isinstance(dimension, Choices)]
    if len(lists) == len(dimensions) and math.prod(map(len, lists)) <= n:
        return list_grid(space)
    random = np.random.default_rng(derive_seed(f"random {seed}"))
    drawn: dict[str, Candidate] = {}
    for _ in range(100 * n):  # a space of a few whole numbers may hold fewer than n
        if len(drawn) == n:
            break
        values: dict[str, Any] = {}
        for name, dimension in dimensions.items():
            position = random.random()
            if isinstance(dimension, Choices):
                values[name] = dimension.values[int(position * len(dimension.values))]
            else:
                values[name] = dimension.at(position)
        candidate = make_candidate(values)
        drawn.setdefault(candidate.id, candidate)
    return list(drawn.values())


def trial_seed(seed: int, fold: int, repeat: int = 0) -> int:
    """Seed of a trial: a function of base seed, fold and repeat, shared by all candidates [0..2^63)."""
    return derive_seed(f"trial {seed} {fold} {repeat}")


def refit_seed(seed: int) -> int:
    """Seed of the final refit [0..2^63)."""
    return derive_seed(f"refit {seed}")


def derive_seed(text: str) -> int:
    """A seed of its own for everything random that is named by a text [0..2^63)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
