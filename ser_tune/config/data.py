"""Which recordings, the features made of them, and how they are split."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from ser_tune.config.checks import require, shown

Emotion = Literal["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprise"]
EMOTIONS: tuple[Emotion, ...] = get_args(Emotion)


@dataclass(frozen=True)
class DataConfig:
    data_dir: Annotated[Path | None, shown("DIR")] = None
    """Folder with recordings, searched at any depth; without it synthetic sample corpora are made."""
    csv: Annotated[Path | None, shown("FILE")] = None
    """Table of one's own recordings: path,emotion,speaker[,text,corpus]; paths relative to the table."""
    corpora: Annotated[tuple[str, ...] | None, shown("NAME ...")] = None
    """Use only these of the corpora found, e.g. ravdess tess savee crema-d emo-db (default: all)."""
    emotions: Annotated[tuple[Emotion, ...], shown("EMOTION ...")] = EMOTIONS
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
    """Length that every clip is cut or padded to [s]."""
    pad: Literal["zero", "loop"] = "zero"
    """How a shorter clip is filled: with zeros at its end, or by repeating it."""
    trim_db: float = 0.0
    """Trim leading and trailing frames this far below the loudest one, 10 to 80 dB; 0: none."""
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
        require(self.pad in ("zero", "loop"), "features.pad", self.pad, "zero or loop")
        trims = self.trim_db == 0 or 10 <= self.trim_db <= 80
        require(trims, "features.trim-db", self.trim_db, "0, or 10 to 80 dB")
        require(self.level in ("peak", "rms", "none"), "features.level", self.level, "peak, rms or none")
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
        """Frames per clip, centred windows: 1 + floor(n_samples / hop_length), of an odd n_fft n_samples - 1."""
        return 1 + (self.n_samples - self.n_fft % 2) // self.hop_length

    @property
    def n_coefficients(self) -> int:
        """MFCC, delta and delta-delta."""
        return 3 * self.n_mfcc

    @property
    def shape(self) -> tuple[int, int]:
        """Coefficients and frames of a clip."""
        return self.n_coefficients, self.n_frames


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
