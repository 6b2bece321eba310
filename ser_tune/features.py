"""Waveforms -> MFCC, delta, delta-delta, as librosa gives them clip by clip, but batched.

A clip's features never depend on the clips beside it: each is floored at its own maximum, and each has
its own matrix product, so that an interrupted extraction that goes on in other batches loses no bit.
"""

import math
from functools import cache

import librosa
import numpy as np
import numpy.typing as npt
import soxr

from ser_tune.audio import Waveform
from ser_tune.config import FeatureConfig
from ser_tune.errors import AudioError

FEATURES_VERSION = 1  # raise it with every change of what this module returns: old caches are then left aside
RMS_TARGET = 0.1
LARGEST_PEAK = 1e6  # of full scale; recordings of floats may exceed 1
DYNAMIC_RANGE_DB = 80.0  # librosa.power_to_db's default
DELTA_WIDTH = 9  # librosa.feature.delta's default [frames]

Features = npt.NDArray[np.float32]


def prepare(waveform: Waveform, sample_rate: int, settings: FeatureConfig) -> Waveform:
    """Return float32 [n_samples] from samples [samples, channels] at `sample_rate` [Hz].

    Mono by mean, resampled (soxr HQ, as librosa.load), cut or zero-padded, then levelled. AudioError where samples
    are so large that their power would not be a finite number.
    """
    # The second beyond the cut outlasts the resampling filter; without it an absurd rate would cost all memory.
    mono = waveform[: math.ceil((settings.duration_s + 1) * sample_rate)].mean(axis=1, dtype=np.float32)
    if sample_rate != settings.sample_rate:
        mono = soxr.resample(mono, sample_rate, settings.sample_rate, quality="HQ")
    clip = np.zeros(settings.n_samples, np.float32)
    clip[: len(mono)] = mono[: settings.n_samples]
    peak = np.abs(clip).max()
    if not peak <= LARGEST_PEAK:  # true for nan too
        raise AudioError(f"holds samples of {peak:g} times full scale")
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
