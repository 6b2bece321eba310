"""What the search and the other commands take."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from ser_tune.config.checks import require, shown
from ser_tune.config.data import DataConfig, FeatureConfig, SplitConfig
from ser_tune.config.learning import ModelConfig, Setting, TrainingConfig
from ser_tune.config.space import Range, SpaceConfig

Metric = Literal["accuracy", "uar", "macro_f1"]
DEFAULT_CANDIDATES = 24


@dataclass(frozen=True)
class MethodConfig:
    method: Literal["grid", "random", "optuna"] = "grid"
    """grid: every combination of the lists; random: drawn at random; optuna: proposed by Optuna's TPE."""
    candidates: Annotated[int | None, shown("INT")] = None
    """Candidates in all, for random and optuna (default: 24)."""
    concurrency: Annotated[int | None, shown("INT")] = None
    """Trials at a time (default: as many as the cluster has room for)."""
    race: Annotated[Literal["off", "paired"] | None, shown("off|paired")] = None
    """paired: drop candidates that cannot be expected to win, before all folds (default: off for grid, else paired)."""
    race_level: float = 0.01
    """Risk, at each test of the race, of dropping a candidate that would win [0.0001..0.5]."""
    repeats: int = 1
    """Run the whole set of folds with this many seeds [1..100]."""
    retries: int = 3
    """Times that a failed trial is tried again [0..100]."""

    def __post_init__(self) -> None:
        n, concurrency = self.candidates, self.concurrency
        require(n is None or 1 <= n <= 10**6, "search.candidates", n, "1 or more")
        require(
            self.method != "grid" or n is None, "search.candidates", n, "it with random or optuna: a grid has its own"
        )
        require(concurrency is None or concurrency >= 1, "search.concurrency", concurrency, "1 or more")
        require(0.0001 <= self.race_level <= 0.5, "search.race-level", self.race_level, "0.0001 to 0.5")
        require(1 <= self.repeats <= 100, "search.repeats", self.repeats, "1 to 100")
        require(0 <= self.retries <= 100, "search.retries", self.retries, "0 to 100")

    @property
    def n_candidates(self) -> int:
        return DEFAULT_CANDIDATES if self.candidates is None else self.candidates

    @property
    def races(self) -> bool:
        """Whether candidates may be dropped before they have run on all folds."""
        return self.method != "grid" if self.race is None else self.race == "paired"


@dataclass(frozen=True)
class SelectionConfig:
    metric: Metric = "accuracy"
    """Validation score whose fold mean chooses candidate and epoch."""
    rule: Literal["best", "one-se"] = "best"
    """best: the highest mean; one-se: the simplest within one standard error of it (fewest parameters, then epochs)."""


@dataclass(frozen=True)
class ComputeConfig:
    cpus_per_trial: Annotated[int | None, shown("INT")] = None
    """Processors (and threads) for each trial (default: cores divided by trials, at least 1)."""
    gpus_per_trial: Annotated[float | None, shown("FLOAT")] = None
    """GPUs for each trial, fractions share one (default: 0.25 of a GPU where the cluster has any)."""
    address: Annotated[str | None, shown("ADDRESS")] = None
    """Running Ray cluster to use, e.g. auto or HOST:6379 (default: a local Ray of one's own)."""

    def __post_init__(self) -> None:
        cpus, gpus = self.cpus_per_trial, self.gpus_per_trial
        require(cpus is None or cpus >= 1, "compute.cpus-per-trial", cpus, "1 or more")
        shares = gpus is None or 0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())
        require(shares, "compute.gpus-per-trial", gpus, "0 to 1, or a whole number")


@dataclass(frozen=True)
class SearchConfig:
    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    experiment: str = "default"
    """Name of the experiment; the same name goes on with it."""
    experiments_dir: Path = Path("experiments")
    """Folder that holds the experiments."""
    cache_dir: Path = Path("feature_cache")
    """Folder that holds the extracted features."""
    seed: int = 0
    """Base seed of splits, candidates, networks and batches [0..4294967295]."""
    reopen_test: bool = False
    """Let other weights look at a test split that was already looked at; test.json counts the looks."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    search: MethodConfig = field(default_factory=MethodConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        named = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.experiment)
        require(bool(named), "experiment", repr(self.experiment), "letters, digits, '.', '_' and '-', 100 at most")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        for name, dimension in self.space.dimensions().items():
            listed = self.search.method != "grid" or not isinstance(dimension, Range)
            flag, found = f"space.{name.replace('_', '-')}", " ".join(map(str, getattr(self.space, name)))
            require(listed, flag, found, "a list of values, or --search.method random or optuna for a range")
        self.space.check(self.base)

    @property
    def base(self) -> Setting:
        """What candidates share, before their hyperparameters."""
        return Setting(self.features, self.model, self.training)

    @property
    def resume_hint(self) -> str:
        """What to do after an interruption."""
        place = self.experiments_dir / self.experiment
        return f"Finished trials are kept in {place}; run the same command again to go on."


@dataclass(frozen=True)
class ExtractConfig:
    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    cache_dir: Path = Path("feature_cache")
    """Folder that holds the extracted features."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    resume_hint: ClassVar[str] = "Finished shards are kept; run the same command again to go on."

    def __post_init__(self) -> None:
        self.data.require_given()


@dataclass(frozen=True)
class AuditConfig:
    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    list_all: Annotated[bool, tyro.conf.arg(name="all")] = False
    """List every recording that is left out, not the first 20 of each kind."""

    def __post_init__(self) -> None:
        self.data.require_given()
