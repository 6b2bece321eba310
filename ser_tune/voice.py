"""A synthetic voice, as a source and a filter: speaker, emotion and text -> a waveform.

The source is a train of glottal pulses with a pitch contour and jitter, and breath; the filter is five resonators in a
row, one per formant of the vowel (Fant, 1960). The emotions follow the trends in pitch, energy, rate and voice quality
that Scherer reviews (2003, Speech Communication 40); their sizes are made up, and tuned to be learnt in part.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter, sosfilt

from ser_tune.config import Emotion

SAMPLE_RATE = 16000  # Hz
CONSONANT = 0.02  # level of the hiss that begins a syllable, beside vowels that peak at 1
Signal = npt.NDArray[np.float64]

# First three formants of five vowels [Hz], men's averages of Peterson and Barney (1952): a, e, i, o, u.
_VOWELS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])
_UPPER_FORMANTS = [3400, 4400]  # Hz, alike in all vowels
_BANDWIDTHS = [70, 90, 120, 200, 300]  # Hz


@dataclass(frozen=True)
class Speaker:
    """Mean pitch [Hz], length of the vocal tract (formants are scaled by it; 1 is a man's) and breathiness [0..1]."""

    pitch_hz: float
    formant_scale: float
    breath: float


@dataclass(frozen=True)
class Manner:
    """How an emotion changes a voice: pitch and formants as ratios, pitch range and drift over the clip [semitones],
    rate as a ratio, effort (less spectral tilt and more level) and breath [0..1], tremor of the pitch [semitones].
    """

    pitch: float
    range_st: float
    drift_st: float
    rate: float
    effort: float
    breath: float
    formants: float
    tremor_st: float


MANNERS: dict[Emotion, Manner] = {
    "neutral": Manner(1.00, 1.5, -1.0, 1.00, 0.45, 0.08, 1.00, 0.1),
    "calm": Manner(0.90, 0.8, -1.5, 0.75, 0.25, 0.30, 0.97, 0.1),
    "happy": Manner(1.40, 4.5, 0.5, 1.15, 0.70, 0.05, 1.12, 0.2),
    "sad": Manner(0.85, 0.6, -2.5, 0.65, 0.05, 0.45, 0.92, 0.4),
    "angry": Manner(1.25, 3.5, -1.5, 1.25, 1.00, 0.02, 1.05, 0.3),
    "fearful": Manner(1.70, 2.0, 1.0, 1.45, 0.45, 0.60, 1.03, 1.2),
    "disgust": Manner(0.80, 2.5, -3.0, 0.80, 0.75, 0.15, 0.84, 0.6),
    "surprise": Manner(1.80, 6.0, 4.0, 0.95, 0.60, 0.25, 1.16, 0.2),
}


def vary(manner: Manner, spread: float, rng: np.random.Generator) -> Manner:
    """The manner of one clip: people differ from clip to clip; `spread` 1 is about the distance between emotions."""
    ratio = np.exp(spread * rng.normal(0, [0.25, 0.6, 0.0, 0.2, 0.0, 0.5, 0.05, 0.6]))
    shift = spread * rng.normal(0, [0.0, 0.0, 2.0, 0.0, 0.25, 0.05, 0.0, 0.0])
    values = np.array(list(vars(manner).values())) * ratio + shift
    pitch, range_st, drift_st, rate, effort, breath, formants, tremor_st = values.tolist()
    unit = np.clip([effort, breath], 0.02, 0.98).tolist()
    return Manner(pitch, range_st, drift_st, rate, unit[0], unit[1], formants, tremor_st)


def speak(speaker: Speaker, manner: Manner, syllables: npt.NDArray[np.intp], rng: np.random.Generator) -> Signal:
    """Say `syllables`, each the number of a vowel [0..4]; return a waveform at 16 kHz whose level grows with effort."""
    lengths_s = 0.22 / manner.rate * rng.uniform(0.7, 1.3, len(syllables))
    bounds = np.concatenate([[0], np.cumsum(lengths_s)])
    time = np.arange(int(bounds[-1] * SAMPLE_RATE)) / SAMPLE_RATE
    source = _source(speaker, manner, time, rng)
    said, hiss = np.zeros(len(time)), np.zeros(len(time))
    for vowel, start, end in zip(syllables, bounds[:-1], bounds[1:], strict=True):
        # A syllable fades into its neighbours over 40 ms, and rings 30 ms longer.
        here = slice(*np.searchsorted(time, [start - 0.02, end + 0.05]))
        fade = np.clip(np.minimum(time[here] - start + 0.02, end + 0.02 - time[here]) / 0.04, 0, 1)
        stressed = rng.uniform(0.5, 1.0) * fade * source[here]
        said[here] += _through_formants(stressed, speaker.formant_scale * manner.formants, int(vowel))
        hiss[here] += np.diff(rng.normal(size=len(fade) + 1)) * np.exp(-(((time[here] - start) / 0.02) ** 2))
    said += CONSONANT * np.abs(said).max() * hiss
    level = 10 ** ((manner.effort - 1) * 24 / 20)
    return np.asarray(level * said / np.abs(said).max())


def _source(speaker: Speaker, manner: Manner, time: Signal, rng: np.random.Generator) -> Signal:
    """Glottal pulses and breath, both as flow derivatives; the tilt of the pulses falls with effort."""
    length_s = time[-1]
    melody = np.sin(2 * np.pi * (rng.uniform(0.6, 1.2) * time + rng.uniform())) * manner.range_st
    tremor = np.sin(2 * np.pi * 7 * time + rng.uniform(0, 6)) * manner.tremor_st
    jitter: Signal = lfilter([0.02], [1, -0.98], rng.normal(0, 1.5, len(time)))
    semitones = melody + manner.drift_st * (time / length_s - 0.5) + tremor + jitter
    pitch_hz = speaker.pitch_hz * manner.pitch * 2 ** (semitones / 12)
    phase = np.cumsum(pitch_hz) / SAMPLE_RATE % 1
    # Rosenberg (1971), type C: opening for 40% of the period, closing for 16%.
    opening = 0.5 * (1 - np.cos(np.pi * phase / 0.4))
    closing = np.cos(np.pi / 2 * np.clip(phase - 0.4, 0, 0.16) / 0.16)
    flow = np.where(phase < 0.4, opening, closing)
    pole = 0.9 - 0.85 * manner.effort
    pulses: Signal = lfilter([1 - pole], [1, -pole], np.diff(flow, prepend=0.0))
    breath = min(0.98, manner.breath + speaker.breath)
    noise = 0.5 * rng.normal(size=len(time)) * (0.5 + 0.5 * flow)
    return np.asarray((1 - breath) * pulses / np.abs(pulses).max() + breath * noise)


def _through_formants(source: Signal, scale: float, vowel: int) -> Signal:
    centres = np.minimum(np.concatenate([_VOWELS[vowel], _UPPER_FORMANTS]) * scale, 0.48 * SAMPLE_RATE)
    radius = np.exp(-np.pi * np.array(_BANDWIDTHS) / SAMPLE_RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * centres / SAMPLE_RATE), radius**2
    zero, one = np.zeros(len(a1)), np.ones(len(a1))
    resonators = np.stack([1 + a1 + a2, zero, zero, one, a1, a2], axis=1)  # gain 1 at 0 Hz
    voiced: Signal = sosfilt(resonators, source)
    return voiced
