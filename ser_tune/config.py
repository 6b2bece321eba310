"""Frozen nested dataclasses, checked where they are made; the only home of defaults.

A field's docstring is its --help text. Impossible values raise InputError with the flag's name.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import tyro

from ser_tune.errors import InputError

Emotion = Literal["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprise"]
EMOTIONS: tuple[Emotion, ...] = get_args(Emotion)
Metric = Literal["accuracy", "uar", "macro_f1"]


def require(condition: bool, flag: str, found: object, expected: str) -> None:
    """Raise InputError, naming the flag, unless the condition holds (it does not for nan)."""
    if not condition:
        raise InputError(f"--{flag} is {found}; expected {expected}")


def _shown(metavar: str) -> Any:
    """How --help shows a flag whose docstring tells its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclass(frozen=True)
class DataConfig:
    data_dir: Annotated[Path | None, _shown("DIR")] = None
    """Folder with recordings, searched at any depth; without it synthetic sample corpora are made."""
    csv: Annotated[Path | None, _shown("FILE")] = None
    """Table of one's own recordings: path,emotion,speaker[,text,corpus]; paths relative to the table."""
    corpora: Annotated[tuple[str, ...] | None, _shown("NAME ...")] = None
    """Use only these of the corpora found, e.g. ravdess tess savee crema-d emo-db (default: all)."""
    emotions: Annotated[tuple[Emotion, ...], _shown("EMOTION ...")] = EMOTIONS
    """Use only these of neutral calm happy sad angry fearful disgust surprise; one output for each (default: all)."""
    keep_everything: bool = False
    """Use all that can be decoded: duplicates, contradicting labels and silence too, as the published experiment."""

    def __post_init__(self) -> None:
        require(self.corpora != (), "corpora", "empty", "one name or more, e.g. --corpora ravdess tess")
        require(len(set(self.emotions)) >= 2, "emotions", " ".join(self.emotions) or "empty", "two or more emotions")
        object.__setattr__(self, "emotions", tuple(e for e in EMOTIONS if e in self.emotions))

    def require_given(self) -> None:
        """Raise InputError unless recordings are named, for a command that has no use for synthetic ones."""
        given = self.data_dir is not None or self.csv is not None
        require(given, "data-dir", "not given", "a folder with recordings (or a table of them: --csv)")


def _least_n_fft(sample_rate: int) -> int:
    """The window [samples] whose bins lie closer than the narrowest of librosa's 128 mel filters is wide.

    Slaney's mel scale: 200/3 Hz per mel below 1 kHz, where filters are narrowest, 15 + 27 ln(f / 1 kHz) / ln 6.4 above.
    """
    highest_mel = 15 + 27 * math.log(sample_rate / 2000) / math.log(6.4)
    narrowest_hz = 2 * highest_mel / 129 * 200 / 3
    return math.floor(sample_rate / narrowest_hz) + 1


@dataclass(frozen=True)
class FeatureConfig:
    sample_rate: int = 24000
    """Rate that every clip is resampled to, mono [Hz, 4000..192000]."""
    duration_s: float = 2.0
    """Length that every clip is cut or zero-padded to [s]."""
    level: Literal["peak", "rms", "none"] = "peak"
    """Level normalisation per clip: peak to 1, root mean square to 0.1, or none."""
    n_mfcc: int = 13
    """MFCC per frame; delta and delta-delta triple them [2..128]."""
    n_fft: int = 2048
    """Window of the Fourier transform [samples]."""
    hop_length: int = 512
    """Step between frames [samples]."""

    def __post_init__(self) -> None:
        require(4000 <= self.sample_rate <= 192000, "features.sample-rate", self.sample_rate, "4000 to 192000 Hz")
        require(0 < self.duration_s <= 60, "features.duration-s", self.duration_s, "more than 0 and at most 60 s")
        require(2 <= self.n_mfcc <= 128, "features.n-mfcc", self.n_mfcc, "2 to 128")
        least = _least_n_fft(self.sample_rate)
        filled = f"{least} to 16384 samples at {self.sample_rate} Hz, so that none of 128 mel filters is empty"
        require(least <= self.n_fft <= 16384, "features.n-fft", self.n_fft, filled)
        require(1 <= self.hop_length <= self.n_fft, "features.hop-length", self.hop_length, "1 to --features.n-fft")
        enough = f"9 frames or more, for the deltas; it gives {self.n_frames} of {self.hop_length} samples"
        require(self.n_frames >= 9, "features.duration-s", self.duration_s, enough)
        require(self.n_fft <= self.n_samples, "features.n-fft", self.n_fft, f"at most the clip's {self.n_samples}")

    @property
    def n_samples(self) -> int:
        """Samples per clip after cutting or padding."""
        return round(self.duration_s * self.sample_rate)

    @property
    def n_frames(self) -> int:
        """Frames per clip, centred windows: 1 + floor(n_samples / hop_length)."""
        return 1 + self.n_samples // self.hop_length

    @property
    def n_coefficients(self) -> int:
        """MFCC, delta and delta-delta."""
        return 3 * self.n_mfcc


@dataclass(frozen=True)
class SplitConfig:
    protocol: Literal["utterance", "speaker"] = "utterance"
    """utterance: stratified by emotion, speakers shared (as published); speaker: speaker-independent."""
    folds: int = 4
    """Folds over the training split [2..50]."""
    test_fraction: float = 0.2
    """Share of the clips (of the speakers, per corpus) in the test split [0.05..0.5]."""

    def __post_init__(self) -> None:
        require(2 <= self.folds <= 50, "splits.folds", self.folds, "2 to 50")
        require(0.05 <= self.test_fraction <= 0.5, "splits.test-fraction", self.test_fraction, "0.05 to 0.5")


@dataclass(frozen=True)
class ModelConfig:
    channels: tuple[int, int] = (32, 64)
    """Channels of the two convolutions [1..1024]."""
    hidden: tuple[int, int] = (256, 128)
    """Widths of the two hidden linear layers [1..8192]."""
    dropout: float = 0.2
    """Dropout after each pooling [0..0.9]."""

    def __post_init__(self) -> None:
        require(all(1 <= width <= 1024 for width in self.channels), "model.channels", self.channels, "1 to 1024 each")
        require(all(1 <= width <= 8192 for width in self.hidden), "model.hidden", self.hidden, "1 to 8192 each")
        require(0 <= self.dropout <= 0.9, "model.dropout", self.dropout, "0 to 0.9")


@dataclass(frozen=True)
class TrainingConfig:
    epochs: int = 30
    """Passes over the training part [1..10000]."""
    batch_size: int = 32
    """Clips per step of the optimiser, Adam [1..4096]."""
    loss: Literal["logits", "published"] = "logits"
    """logits: cross-entropy on the logits; published: on the softmax, as the original did."""

    def __post_init__(self) -> None:
        require(1 <= self.epochs <= 10000, "training.epochs", self.epochs, "1 to 10000")
        require(1 <= self.batch_size <= 4096, "training.batch-size", self.batch_size, "1 to 4096")


@dataclass(frozen=True)
class SpaceConfig:
    lr: tuple[float, ...] = (0.01, 0.005, 0.001, 0.0005)
    """Learning rates to try, one candidate each [more than 0, at most 1]."""

    def __post_init__(self) -> None:
        require(len(self.lr) > 0, "space.lr", "empty", "one learning rate or more, e.g. --space.lr 0.001 0.0005")
        for lr in self.lr:
            require(math.isfinite(lr) and 0 < lr <= 1, "space.lr", lr, "learning rates above 0 and at most 1")
        require(len(set(self.lr)) == len(self.lr), "space.lr", " ".join(map(str, self.lr)), "each value once")


@dataclass(frozen=True)
class SelectionConfig:
    metric: Metric = "accuracy"
    """Validation score whose fold mean chooses candidate and epoch."""


@dataclass(frozen=True)
class ComputeConfig:
    cpus_per_trial: Annotated[int | None, _shown("INT")] = None
    """Processors (and threads) for each trial (default: cores divided by trials, at least 1)."""
    gpus_per_trial: Annotated[float | None, _shown("FLOAT")] = None
    """GPUs for each trial, fractions share one (default: 0.25 of a GPU where the cluster has any)."""
    address: Annotated[str | None, _shown("ADDRESS")] = None
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
    """Base seed of splits, networks and batches [0..4294967295]."""
    reopen_test: bool = False
    """Let other weights look at a test split that was already looked at; test.json counts the looks."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        named = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.experiment)
        require(bool(named), "experiment", repr(self.experiment), "letters, digits, '.', '_' and '-', 100 at most")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")

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


def to_json(config: Any) -> Any:
    """A configuration as JSON values: paths become strings, tuples lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {item.name: to_json(getattr(config, item.name)) for item in dataclasses.fields(config)}
    if isinstance(config, tuple):
        return [to_json(value) for value in config]
    return str(config) if isinstance(config, Path) else config
