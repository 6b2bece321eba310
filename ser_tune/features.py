"""Waveforms -> MFCC, delta, delta-delta, as librosa gives them clip by clip, but batched.

A clip's features never depend on the clips beside it: each is floored at its own maximum, and each has
its own matrix product, so that an interrupted extraction that goes on in other batches loses no bit.
What prediction takes one piece at a time (`resample`, `find_sound`, `between`) is here, for both to hear the same.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain

import librosa
import numpy as np
import numpy.typing as npt
import soxr

from ser_tune.audio import Waveform, refuse_beyond_measure
from ser_tune.config import FeatureConfig

FEATURES_VERSION = 1  # raise it with every change of what this module returns: old caches are then left aside
RMS_TARGET = 0.1
DYNAMIC_RANGE_DB = 80.0  # librosa.power_to_db's default
DELTA_WIDTH = 9  # librosa.feature.delta's default [frames]
_BLOCK_S = 10  # resampled at once where silence is trimmed,
_BLOCK_SAMPLES = 2**20  # or less, where the rate is absurd
_FRAMED_AT_ONCE = 2**22  # frames x n_fft, as long pieces or many frames must not cost much memory
_LEAST_RMS = 1e-12  # librosa.effects.trim's 1e-5 would leave a quiet recording with silence that a loud one loses

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """Where a recording of `n_samples` holds sound: from sample `start` to before `end`."""

    start: int
    end: int
    n_samples: int


def prepare(waveform: Waveform, sample_rate: int, settings: FeatureConfig) -> Waveform:
    """Return float32 [n_samples] from samples [samples, channels] at `sample_rate` [Hz].

    Mono by mean, resampled (soxr HQ, as librosa.load), trimmed of silence at its ends if settings.trim_db says so,
    cut or padded, then levelled. AudioError where samples are so large that their power would not be a finite number.
    """
    if settings.trim_db:
        size = min(_BLOCK_S * sample_rate, _BLOCK_SAMPLES)
        blocks = [(waveform[first : first + size], sample_rate) for first in range(0, len(waveform), size)]
        return prepare_blocks(lambda: blocks, settings)
    mono = waveform[: samples_needed(sample_rate, settings)].mean(axis=1, dtype=np.float32)
    if sample_rate != settings.sample_rate:
        mono = soxr.resample(mono, sample_rate, settings.sample_rate, quality="HQ")
    return _level(_fill(mono, settings), settings)


def prepare_blocks(blocks: Callable[[], Iterable[tuple[Waveform, int]]], settings: FeatureConfig) -> Waveform:
    """Return what `prepare` would of the joined blocks [samples, channels] and their rate [Hz], trimmed of silence.

    Only the end of a recording tells what in it was silence: it is gone through twice, so that hours of it, or hours
    by an absurd rate, cost time but little memory.
    """
    sound = find_sound(resample(blocks(), settings.sample_rate), settings)
    end = min(sound.end, sound.start + settings.n_samples)
    pieces = between(resample(blocks(), settings.sample_rate), sound.start, end)
    return _level(_fill(np.concatenate([np.zeros(0, np.float32), *pieces]), settings), settings)


def samples_needed(sample_rate: int, settings: FeatureConfig) -> int:
    """How much of a recording at `sample_rate` [Hz] makes its clip, where silence is not trimmed [samples].

    The second beyond the cut outlasts the resampling filter; without it an absurd rate would cost all memory.
    """
    return math.ceil((settings.duration_s + 1) * sample_rate)


def resample(blocks: Iterable[tuple[Waveform, int]], sample_rate: int) -> Iterator[Waveform]:
    """Yield mono pieces [samples] at `sample_rate` [Hz] of a recording's blocks [samples, channels] and rate [Hz].

    Joined they are, to the bit, what soxr.resample makes of the whole.
    """
    resampler: soxr.ResampleStream | None = None
    for block, found_rate in blocks:
        mono = block.mean(axis=1, dtype=np.float32)
        if found_rate == sample_rate:
            yield mono
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(found_rate, sample_rate, 1, dtype="float32", quality="HQ")
        yield resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def find_sound(pieces: Iterable[Waveform], settings: FeatureConfig) -> Sound:
    """Return what librosa.effects.trim would keep of the joined mono pieces [samples]; raise AudioError as prepare.

    That is all between the first and the last frame (n_fft samples, centred, every hop_length) whose RMS is less than
    trim_db [dB] below the loudest frame's. Silence is kept whole, and the same is kept however loud the recording is.
    """
    n_fft, hop_length = settings.n_fft, settings.hop_length
    margin = np.zeros(n_fft // 2, np.float32)
    pending, rms, n_padded = margin[:0], [margin[:0]], 0
    for piece in _slices(chain([margin], pieces, [margin]), _FRAMED_AT_ONCE // n_fft * hop_length):
        refuse_beyond_measure(piece)
        n_padded += len(piece)
        pending = np.concatenate([pending, piece])
        if len(pending) >= n_fft:
            rms.extend(librosa.feature.rms(y=pending, frame_length=n_fft, hop_length=hop_length, center=False))
            pending = pending[len(rms[-1]) * hop_length :]
    n_samples = n_padded - 2 * len(margin)
    if n_samples == 0:
        return Sound(0, 0, 0)
    decibels = librosa.amplitude_to_db(np.concatenate(rms), ref=np.max, amin=_LEAST_RMS, top_db=None)
    loud = np.flatnonzero(decibels > -settings.trim_db).tolist()
    return Sound(loud[0] * hop_length, min(n_samples, (loud[-1] + 1) * hop_length), n_samples)


def _slices(pieces: Iterable[Waveform], size: int) -> Iterator[Waveform]:
    return (piece[first : first + size] for piece in pieces for first in range(0, len(piece), size))


def between(pieces: Iterable[Waveform], start: int, end: int) -> Iterator[Waveform]:
    """Yield the samples from `start` to before `end` of the joined pieces; none further is asked for."""
    position = 0
    for piece in pieces:
        yield piece[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        if position >= end:
            return


def _fill(mono: Waveform, settings: FeatureConfig) -> Waveform:
    """Return [n_samples]: the beginning of `mono`, or all of it, then zeros or itself again and again."""
    if settings.pad == "loop":
        return np.resize(mono, settings.n_samples)
    clip = np.zeros(settings.n_samples, np.float32)
    clip[: len(mono)] = mono[: settings.n_samples]
    return clip


def _level(clip: Waveform, settings: FeatureConfig) -> Waveform:
    refuse_beyond_measure(clip)
    return (clip / np.float64(_scale(clip, settings.level))).astype(np.float32)


def _scale(clip: Waveform, level: str) -> float:
    """What a clip is divided by to bring it to its level; 1 for silence."""
    if level == "none" or not clip.any():
        return 1.0
    if level == "peak":
        return float(np.abs(clip).max())
    return float(np.sqrt(np.mean(np.square(clip, dtype=np.float64)))) / RMS_TARGET


def extract_features(batch: Waveform, settings: FeatureConfig) -> Features:
    """Return float32 [clips, 3 * n_mfcc, n_frames] from prepared clips [clips, n_samples]."""
    mfcc = _mfcc(batch, settings)
    deltas = [librosa.feature.delta(mfcc, width=DELTA_WIDTH, order=order) for order in (1, 2)]
    return np.concatenate([mfcc, *deltas], axis=1, dtype=np.float32)


def _mfcc(batch: Waveform, settings: FeatureConfig) -> Features:
    """Return [clips, n_mfcc, n_frames].

    librosa.feature.mfcc(y=batch) would floor every clip at the loudest clip's maximum - 80 dB.
    """
    spectra = librosa.stft(batch, n_fft=settings.n_fft, hop_length=settings.hop_length)
    power = np.abs(spectra) ** 2
    decibels = librosa.power_to_db(_mel_filters(settings.sample_rate, settings.n_fft) @ power, top_db=None)
    floor = decibels.max(axis=(1, 2), keepdims=True) - DYNAMIC_RANGE_DB
    mfcc: Features = librosa.feature.mfcc(S=np.maximum(decibels, floor), n_mfcc=settings.n_mfcc)
    return mfcc


@cache
def _mel_filters(sample_rate: int, n_fft: int) -> npt.NDArray[np.float32]:
    """The filters that librosa.feature.mfcc uses by default [128 mels, 1 + n_fft / 2]."""
    filters: npt.NDArray[np.float32] = librosa.filters.mel(sr=sample_rate, n_fft=n_fft)
    return filters
