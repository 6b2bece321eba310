"""Waveforms -> MFCC, delta, delta-delta, as librosa gives them clip by clip, at half its cost.

A clip's features never depend on the clips beside it, so that an interrupted extraction that goes on in other
batches loses no bit. What prediction takes one piece at a time (`resample`, `find_sound`, `between`) is here, for
both to hear the same.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import scipy.fft
import soxr

from ser_tune.audio import Waveform, refuse_beyond_measure
from ser_tune.config import FeatureConfig

FEATURES_VERSION = 3  # raise it with every change of what this module returns: old caches are then left aside
RMS_TARGET = 0.1
DYNAMIC_RANGE_DB = 80.0  # librosa.power_to_db's default
LEAST_POWER = 1e-10  # as well
DELTA_WIDTH = 9  # librosa.feature.delta's default [frames]
_BLOCK_S = 10  # resampled at once where silence is trimmed,
_BLOCK_SAMPLES = 2**20  # or less, where the rate is absurd
_FRAMED_AT_ONCE = 2**22  # frames x n_fft, as long pieces or many frames must not cost much memory
_ANALYSED_AT_ONCE = 2**17  # frames x n_fft, so small that glibc keeps the memory: each page it gives back costs a fault
_MEL_GROUPS = 4  # multiplied apart, each by the bins it covers: a band covers few, the matrix is nearly all zeros
_MARGIN_S, _MARGIN_SAMPLES = 0.25, 2000  # beyond the cut, whichever is longer: outlasts the resampling filter
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
    samples = mono(waveform[: samples_needed(sample_rate, settings)])
    if sample_rate != settings.sample_rate:
        samples = soxr.resample(samples, sample_rate, settings.sample_rate, quality="HQ")
    return _level(_fill(samples, settings), settings)


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

    What is beyond the cut outlasts the resampling filter. All of it would cost time, and by an absurd rate all memory.
    """
    margin = max(math.ceil(_MARGIN_S * sample_rate), _MARGIN_SAMPLES)
    return math.ceil(settings.duration_s * sample_rate) + margin


def resample(blocks: Iterable[tuple[Waveform, int]], sample_rate: int) -> Iterator[Waveform]:
    """Yield mono pieces [samples] at `sample_rate` [Hz] of a recording's blocks [samples, channels] and rate [Hz].

    Joined they are, to the bit, what soxr.resample makes of the whole.
    """
    resampler: soxr.ResampleStream | None = None
    for block, found_rate in blocks:
        samples = mono(block)
        if found_rate == sample_rate:
            yield samples
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(found_rate, sample_rate, 1, dtype="float32", quality="HQ")
        yield resampler.resample_chunk(samples)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def mono(waveform: Waveform) -> Waveform:
    """The mean of the channels [samples]."""
    return waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1, dtype=np.float32)


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


def _fill(samples: Waveform, settings: FeatureConfig) -> Waveform:
    """Return [n_samples]: the beginning of mono `samples`, or all of it, then zeros or itself again and again."""
    if settings.pad == "loop":
        return np.resize(samples, settings.n_samples)
    clip = np.zeros(settings.n_samples, np.float32)
    clip[: len(samples)] = samples[: settings.n_samples]
    return clip


def _level(clip: Waveform, settings: FeatureConfig) -> Waveform:
    refuse_beyond_measure(clip)
    return (clip / _scale(clip, settings.level)).astype(np.float32, copy=False)


def _scale(clip: Waveform, level: str) -> np.floating[Any]:
    """What a clip is divided by to bring it to its level; 1 for silence."""
    if level == "none" or not clip.any():
        return np.float32(1)
    if level == "peak":
        return np.float32(np.abs(clip).max())
    return np.float64(np.sqrt(np.mean(np.square(clip, dtype=np.float64))) / RMS_TARGET)  # may be too small for float32


@dataclass(frozen=True)
class Analysis:
    """What makes features of samples, as librosa works it out; where it is at hand librosa need not be imported.

    Importing it takes a worker as long as hundreds of clips.
    """

    window: Waveform
    """[n_fft]"""
    mel: tuple[tuple[slice, npt.NDArray[np.float32]], ...]
    """Power spectrum to mel bands: of each group of these, the bins that it covers and its filters [bins, bands]."""
    dct: npt.NDArray[np.float64]
    """Mel bands to MFCC [128, n_mfcc]; in float32 the sum would be off by more than librosa's."""
    deltas: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
    """What DELTA_WIDTH frames give the first and the second delta of each of them [DELTA_WIDTH, DELTA_WIDTH]."""


@lru_cache(maxsize=8)
def analysis_of(settings: FeatureConfig) -> Analysis:
    """The linear parts of librosa.feature.mfcc and delta, each read off librosa or scipy by what it makes of units."""
    mel = librosa.filters.mel(sr=settings.sample_rate, n_fft=settings.n_fft)
    dct = scipy.fft.dct(np.eye(len(mel)), type=2, norm="ortho")[:, : settings.n_mfcc]
    first, second = (librosa.feature.delta(np.eye(DELTA_WIDTH), width=DELTA_WIDTH, order=order) for order in (1, 2))
    return Analysis(
        window=librosa.filters.get_window("hann", settings.n_fft).astype(np.float32),
        mel=tuple(_covered(group) for group in np.array_split(mel, _MEL_GROUPS)),
        dct=dct,
        deltas=(first.astype(np.float32), second.astype(np.float32)),
    )


def _covered(bands: npt.NDArray[np.float32]) -> tuple[slice, npt.NDArray[np.float32]]:
    """The bins that some of the bands [bands, bins] take in, and what they make of these [covered bins, bands]."""
    covered = np.flatnonzero(bands.any(axis=0))
    bins = slice(covered[0], covered[-1] + 1)
    return bins, np.ascontiguousarray(bands[:, bins].T)


def extract_features(batch: Waveform, settings: FeatureConfig, analysis: Analysis | None = None) -> Features:
    """Return float32 [clips, 3 * n_mfcc, n_frames] from prepared clips [clips, n_samples]."""
    analysis = analysis or analysis_of(settings)
    features = np.empty((len(batch), *settings.shape), np.float32)
    for clip, values in zip(batch, features, strict=True):
        mfcc = _mfcc(clip, settings, analysis)
        np.concatenate([mfcc, *(_delta(mfcc, delta) for delta in analysis.deltas)], out=values)
    return features


def _mfcc(clip: Waveform, settings: FeatureConfig, analysis: Analysis) -> Features:
    """Return [n_mfcc, n_frames] of a clip [n_samples], as librosa.feature.mfcc does.

    A few frames at a time, one after another in memory: their spectra stay in the processor's cache.
    """
    margin = np.zeros(settings.n_fft // 2, np.float32)
    frames = _windows(np.concatenate([margin, clip, margin]), settings.n_fft, settings.hop_length)
    n_at_once = max(1, _ANALYSED_AT_ONCE // settings.n_fft)
    bands = []
    for first in range(0, len(frames), n_at_once):
        spectra = scipy.fft.rfft(frames[first : first + n_at_once] * analysis.window)
        power = np.square(spectra.real) + np.square(spectra.imag)
        bands.append(np.hstack([power[:, bins] @ group for bins, group in analysis.mel]))
    decibels = 10 * np.log10(np.maximum(np.concatenate(bands), np.float32(LEAST_POWER)))
    mfcc = np.maximum(decibels, decibels.max() - DYNAMIC_RANGE_DB) @ analysis.dct
    return np.ascontiguousarray(mfcc.T, np.float32)


def _delta(mfcc: Features, delta: npt.NDArray[np.float32]) -> Features:
    """Return what librosa.feature.delta does of [n_mfcc, n_frames]: a local fit, that of the ends for both ends."""
    half = DELTA_WIDTH // 2
    inner = _windows(mfcc, DELTA_WIDTH, 1) @ delta[:, half]
    return np.hstack([mfcc[:, :DELTA_WIDTH] @ delta[:, :half], inner, mfcc[:, -DELTA_WIDTH:] @ delta[:, half + 1 :]])


def _windows(values: npt.NDArray[np.float32], size: int, step: int) -> npt.NDArray[np.float32]:
    """View of the last axis of C-contiguous values [..., n] as windows that overlap [..., n_windows, size].

    numpy's sliding_window_view takes ten times as long to make one, a tenth of a clip's time.
    """
    shape = (*values.shape[:-1], 1 + (values.shape[-1] - size) // step, size)
    strides = (*values.strides[:-1], step * values.itemsize, values.itemsize)
    return np.ndarray(shape, np.float32, values, strides=strides)
