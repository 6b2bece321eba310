import itertools
import warnings
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ser_tune.config import FeatureConfig
from ser_tune.errors import InputError
from ser_tune.features import extract_features, prepare

DEFAULT = FeatureConfig()


def voice(
    seed: int, seconds: float, sample_rate: int, channels: int = 1, loudness: float = 0.5
) -> npt.NDArray[np.float32]:
    """A buzz with a gliding pitch, breath noise and a silent end: [samples, channels]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * (rng.uniform(80, 300) * time_s + rng.uniform(-20, 20) * time_s**2)
    buzz = np.sum([np.sin(k * phase) / k**1.5 for k in range(1, 12)], axis=0)
    breathy = buzz * (time_s < 0.8 * seconds) + 0.02 * rng.normal(size=len(time_s)) * (time_s < 0.9 * seconds)
    gains = rng.uniform(0.3, 1, channels)
    return np.asarray(loudness * breathy[:, None] * gains / np.abs(breathy).max(), np.float32)


def one_by_one(clip: npt.NDArray[np.float32], settings: FeatureConfig) -> npt.NDArray[np.float32]:
    mfcc = librosa.feature.mfcc(
        y=clip, sr=settings.sample_rate, n_mfcc=settings.n_mfcc, n_fft=settings.n_fft, hop_length=settings.hop_length
    )
    return np.concatenate([mfcc, librosa.feature.delta(mfcc), librosa.feature.delta(mfcc, order=2)], dtype=np.float32)


@cache
def clips(settings: FeatureConfig, n: int = 6) -> npt.NDArray[np.float32]:
    """Prepared clips [clips, n_samples] of very different levels, rates and lengths; the last is silence."""
    rates = itertools.cycle([16000, 24000, 24414, 44100, 48000])
    waveforms = [
        (voice(seed, 0.9 + 0.4 * seed, rate, 1 + seed % 2, 10.0**-seed), rate)
        for seed, rate in zip(range(n - 1), rates, strict=False)
    ]
    waveforms.append((np.zeros((5000, 1), np.float32), 16000))
    return np.stack([prepare(waveform, rate, settings) for waveform, rate in waveforms])


def test_the_default_features_are_39_coefficients_by_94_frames() -> None:
    assert extract_features(clips(DEFAULT), DEFAULT).shape == (6, 39, 94)
    assert (DEFAULT.n_coefficients, DEFAULT.n_frames) == (39, 94)


@pytest.mark.parametrize(
    "settings",
    [
        FeatureConfig(level="peak"),
        FeatureConfig(level="rms"),
        FeatureConfig(level="none"),
        FeatureConfig(sample_rate=16000, duration_s=1.3, n_mfcc=20, n_fft=400, hop_length=160),
    ],
    ids=lambda settings: f"{settings.level}-{settings.sample_rate}",
)
def test_a_batch_gives_what_librosa_gives_clip_by_clip(settings: FeatureConfig) -> None:
    batch = clips(settings)
    features = extract_features(batch, settings)
    assert features.dtype == np.float32
    assert features.shape == (len(batch), settings.n_coefficients, settings.n_frames)
    # The difference measured is 0.0 on 192 real clips and on these; rounding may differ with the processor.
    np.testing.assert_allclose(features, [one_by_one(clip, settings) for clip in batch], rtol=0, atol=1e-3)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9))
@examples(max_examples=10, deadline=None)
def test_no_bit_of_a_clips_features_depends_on_the_clips_beside_it(order: list[int]) -> None:
    batch = clips(DEFAULT)
    alone = [extract_features(batch[[index]], DEFAULT)[0] for index in order]
    np.testing.assert_array_equal(extract_features(batch[order], DEFAULT), alone)


def test_preparing_resamples_as_librosa_load_does(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, voice(3, 1.0, 44100, 2), 44100, subtype="FLOAT")
    expected, _ = librosa.load(path, sr=24000)
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    prepared = prepare(samples, rate, FeatureConfig(level="none"))
    np.testing.assert_allclose(prepared[: len(expected)], expected, rtol=0, atol=1e-7)
    assert not prepared[len(expected) :].any()


def test_levels_are_set_after_the_cut() -> None:
    quiet_then_loud = voice(1, 4.0, 24000)
    quiet_then_loud[:48000] *= 0.01
    peak = prepare(quiet_then_loud, 24000, FeatureConfig(level="peak"))
    rms = prepare(quiet_then_loud, 24000, FeatureConfig(level="rms"))
    assert np.abs(peak).max() == 1
    assert np.sqrt(np.mean(rms.astype(float) ** 2)) == pytest.approx(0.1)
    np.testing.assert_array_equal(
        prepare(quiet_then_loud, 24000, FeatureConfig(level="none")), quiet_then_loud[:48000, 0]
    )


@pytest.mark.parametrize("level", ["peak", "rms", "none"])
def test_silence_stays_silence(level: str) -> None:
    settings = FeatureConfig(level=level)  # type: ignore[arg-type] # parametrize knows strings only
    clip = prepare(np.zeros((100, 2), np.float32), 8000, settings)
    assert clip.shape == (48000,)
    assert not clip.any()
    assert np.isfinite(extract_features(clip[None], settings)).all()


@given(sample_rate=st.integers(4000, 192000), n_fft=st.integers(64, 16384))
@examples(max_examples=25, deadline=None)
def test_settings_that_are_taken_make_librosa_warn_of_nothing(sample_rate: int, n_fft: int) -> None:
    try:
        settings = FeatureConfig(sample_rate=sample_rate, n_fft=n_fft, hop_length=n_fft // 4, duration_s=5)
    except InputError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract_features(prepare(voice(0, 1.0, 16000), 16000, settings)[None], settings)


def test_a_window_that_leaves_mel_filters_empty_is_refused() -> None:
    with pytest.raises(InputError, match=r"--features.n-fft is 256; expected 455 to 16384 samples at 24000 Hz"):
        FeatureConfig(n_fft=256, hop_length=128)


def test_a_window_longer_than_the_clip_is_refused() -> None:
    with pytest.raises(InputError, match=r"--features.n-fft is 4096; expected at most the clip's 2400"):
        FeatureConfig(n_fft=4096, duration_s=0.1, hop_length=100)
