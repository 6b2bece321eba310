"""The search space -> candidates in the order they are listed; and the seed each trial gets."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ser_tune.config import SpaceConfig


@dataclass(frozen=True)
class Candidate:
    """One hyperparameter setting; `id` is a hash of it, the same in every experiment."""

    id: str
    hyperparameters: dict[str, Any]

    @property
    def label(self) -> str:
        """The hyperparameters as people read them: `lr=0.001`."""
        return ", ".join(f"{name}={value:g}" for name, value in self.hyperparameters.items())


def list_candidates(space: SpaceConfig) -> list[Candidate]:
    """One candidate per learning rate, in the order given; ties are won by the earlier."""
    return [make_candidate({"lr": lr}) for lr in space.lr]


def make_candidate(hyperparameters: dict[str, Any]) -> Candidate:
    """The candidate of these hyperparameters."""
    canonical = json.dumps(hyperparameters, sort_keys=True)
    return Candidate(hashlib.sha256(canonical.encode()).hexdigest()[:10], hyperparameters)


def trial_seed(seed: int, fold: int, repeat: int = 0) -> int:
    """Seed of a trial: a function of base seed, fold and repeat, shared by all candidates [0..2^63)."""
    return _derive(f"trial {seed} {fold} {repeat}")


def refit_seed(seed: int) -> int:
    """Seed of the final refit [0..2^63)."""
    return _derive(f"refit {seed}")


def _derive(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
