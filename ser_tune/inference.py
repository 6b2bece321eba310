"""A recording of any rate, channels and length -> the emotions of its windows and their mean.

It is decoded, resampled and classified piece by piece, so that its length costs no memory; decoded twice where
the bundle was trained on clips trimmed of silence. Raises AudioError where it cannot be decoded or holds no sound.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ser_tune.audio import SILENCE_PEAK, Waveform, read_blocks
from ser_tune.config import FeatureConfig
from ser_tune.errors import AudioError
from ser_tune.export import Bundle, values_per_clip
from ser_tune.features import Sound, between, extract_features, find_sound, prepare, resample
from ser_tune.model import EmotionNetwork

WINDOWS_AT_ONCE = 16
_VALUES_AT_ONCE = 2**24  # 64 MiB in one layer, where a stranger's network is not too wide for even that

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A stretch of the recording [s] and the probability of each of the bundle's emotions [emotions]."""

    start_s: float
    end_s: float
    probabilities: Probabilities


@dataclass(frozen=True)
class Classification:
    """The windows that hold sound, in order, and the mean of their probabilities [emotions]."""

    duration_s: float
    windows: list[Window]
    probabilities: Probabilities


def classify(path: str | Path, bundle: Bundle, network: EmotionNetwork) -> Classification:
    """Classify one recording; windows without sound are left out of the mean. Raises AudioError.

    With trim_db silence is trimmed as in training: once, from both ends of the recording, against its loudest frame.
    The first window is thus what training would have seen of it; none loses a pause within the recording.
    """
    settings = bundle.features
    sound = find_sound(_pieces(path, settings), settings) if settings.trim_db else None
    windows: list[Window] = []
    end = 0
    at_once = max(1, min(WINDOWS_AT_ONCE, _VALUES_AT_ONCE // values_per_clip(settings, bundle.model)))
    for batch in _batches(cut_windows(path, settings, sound), at_once):
        end = batch[-1][0] + len(batch[-1][1])
        sounding = [(start, samples) for start, samples in batch if _holds_sound(samples)]
        if sounding:
            rows = _probabilities([samples for _, samples in sounding], bundle, network)
            for (start, samples), row in zip(sounding, rows, strict=True):
                start_s, end_s = start / settings.sample_rate, (start + len(samples)) / settings.sample_rate
                windows.append(Window(start_s, end_s, row))
    if not windows:
        raise AudioError("holds no sound: there is nothing to classify")
    mean = np.mean([window.probabilities for window in windows], axis=0)
    n_samples = sound.n_samples if sound else end
    return Classification(n_samples / settings.sample_rate, windows, mean)


def cut_windows(
    path: str | Path, settings: FeatureConfig, sound: Sound | None = None
) -> Iterator[tuple[int, Waveform]]:
    """Yield each window's first sample in the recording and its samples, mono at settings.sample_rate.

    Windows of `sound`, or else of the whole recording, last duration_s and do not overlap, but for the last, which
    ends with it; a rest below one hop makes none. What is shorter than a window is one shorter window.
    """
    pieces, first = _pieces(path, settings), 0
    if sound:
        pieces, first = between(pieces, sound.start, sound.end), sound.start
    n_samples, start = settings.n_samples, first
    pending = window = np.zeros(0, np.float32)
    for piece in pieces:
        pending = np.concatenate([pending, piece])
        while len(pending) >= n_samples:
            window, pending = pending[:n_samples], pending[n_samples:]
            yield start, window
            start += n_samples
    if start == first:
        yield first, pending
    elif len(pending) >= settings.hop_length:
        yield start + len(pending) - n_samples, np.concatenate([window, pending])[-n_samples:]


def _pieces(path: str | Path, settings: FeatureConfig) -> Iterator[Waveform]:
    return resample(read_blocks(path), settings.sample_rate)


def _batches(windows: Iterable[tuple[int, Waveform]], size: int) -> Iterator[list[tuple[int, Waveform]]]:
    iterator = iter(windows)
    while batch := list(islice(iterator, size)):
        yield batch


def _holds_sound(samples: Waveform) -> bool:
    """By the rule of AudioFacts.silent, for what is left in mono."""
    return len(samples) > 0 and (float(samples.max()) - float(samples.min())) / 2 >= SILENCE_PEAK


def _probabilities(windows: list[Waveform], bundle: Bundle, network: EmotionNetwork) -> Probabilities:
    """Probabilities [windows, emotions]; a shorter window is padded as in training."""
    settings, standardisation = replace(bundle.features, trim_db=0.0), bundle.standardisation
    clips = np.stack([prepare(samples[:, None], settings.sample_rate, settings) for samples in windows])
    features = extract_features(clips, settings)
    standardised = (features - standardisation.mean[:, None]) / standardisation.std[:, None]
    with torch.inference_mode():
        probabilities = network.probabilities(torch.from_numpy(standardised))
    if not torch.isfinite(probabilities).all():  # weights or a standardisation of 1e30, say
        raise AudioError("the bundle answers with what are no probabilities")
    return probabilities.numpy().astype(np.float64)
