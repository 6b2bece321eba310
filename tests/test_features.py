import itertools
import tracemalloc
import warnings
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ser_tune.audio import Waveform
from ser_tune.config import FeatureConfig
from ser_tune.errors import AudioError, InputError
from ser_tune.features import Sound, extract_features, find_sound, prepare

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


def test_a_shorter_clip_is_followed_by_zeros_or_by_itself() -> None:
    sound = voice(1, 0.7, 24000)
    mono = sound[:, 0]
    zeros = prepare(sound, 24000, FeatureConfig(level="none"))
    loop = prepare(sound, 24000, FeatureConfig(level="none", pad="loop"))
    np.testing.assert_array_equal(zeros, np.concatenate([mono, np.zeros(48000 - 16800)]))
    np.testing.assert_array_equal(loop, mono[np.arange(48000) % 16800])


def test_a_longer_clip_is_cut_whatever_pads_shorter_ones() -> None:
    sound = voice(1, 2.5, 44100, 2)
    np.testing.assert_array_equal(prepare(sound, 44100, FeatureConfig(pad="loop")), prepare(sound, 44100, DEFAULT))


def among_silence(seed: int, before_s: float, sound_s: float, after_s: float, sample_rate: int = 24000) -> Waveform:
    """Loud noise with a pause in its middle among noise 66 dB below it: [samples, 1]."""
    lengths = [round(length_s * sample_rate) for length_s in (before_s, 0.4 * sound_s, 0.2 * sound_s)]
    edges = np.cumsum([*lengths, lengths[1]])
    random = np.random.default_rng(seed)
    samples = random.normal(0, 1e-4, (edges[-1] + round(after_s * sample_rate), 1))
    for start, end in (edges[0:2], edges[2:4]):
        samples[start:end] = random.normal(0, 0.2, (end - start, 1))
    return samples.astype(np.float32)


@given(
    before_s=st.floats(0, 3),
    sound_s=st.floats(0.01, 1),
    after_s=st.floats(0, 1),
    seed=st.integers(0, 99),
    trim_db=st.floats(10, 80),
    n_fft=st.integers(600, 4096),
    hops=st.integers(1, 8),
    rate=st.sampled_from([24000, 44100]),
)
@examples(max_examples=40, deadline=None)
def test_librosa_trims_the_whole_resampled_recording_alike(
    before_s: float, sound_s: float, after_s: float, seed: int, trim_db: float, n_fft: int, hops: int, rate: int
) -> None:
    settings = FeatureConfig(trim_db=trim_db, level="none", n_fft=n_fft, hop_length=n_fft // hops, duration_s=3)
    samples = among_silence(seed, before_s, sound_s, after_s, rate)
    mono = librosa.resample(samples[:, 0], orig_sr=rate, target_sr=24000, res_type="soxr_hq")
    kept, _ = librosa.effects.trim(mono, top_db=trim_db, frame_length=n_fft, hop_length=n_fft // hops)
    expected = np.concatenate([kept, np.zeros(72000)])[:72000]
    np.testing.assert_allclose(prepare(samples, rate, settings), expected, rtol=0, atol=1e-7)


def test_silence_goes_from_both_ends_and_a_pause_stays() -> None:
    samples = among_silence(0, 5.0, 1.0, 2.0)  # the sound begins later than duration_s
    looped = prepare(samples, 24000, FeatureConfig(trim_db=30, pad="loop", level="none"))
    sound = find_sound([samples[:, 0]], FeatureConfig(trim_db=30))
    # A frame of 2048 samples is loud where some of it is: up to half of it may lie on either side of the edge.
    assert 5.0 * 24000 - 1024 <= sound.start <= 5.0 * 24000
    assert 6.0 * 24000 <= sound.end <= 6.0 * 24000 + 1024 + 512
    n_kept = sound.end - sound.start
    np.testing.assert_array_equal(looped[:n_kept], samples[sound.start : sound.end, 0])
    np.testing.assert_array_equal(looped[n_kept:], looped[: 48000 - n_kept])


def test_of_a_recording_30_or_90_db_softer_the_same_is_trimmed() -> None:
    samples, settings = among_silence(0, 0.5, 1.0, 0.5), FeatureConfig(trim_db=60)
    loud = prepare(samples, 24000, settings)
    assert np.abs(loud[:1000]).max() > 0.1  # the silence is gone
    for scale in (2.0**-5, 2.0**-15):
        np.testing.assert_array_equal(prepare(samples * np.float32(scale), 24000, settings), loud)


@given(st.lists(st.integers(0, 60000), max_size=9), st.integers(600, 4096))
@examples(max_examples=25, deadline=None)
def test_sound_is_found_alike_in_any_pieces(cuts: list[int], n_fft: int) -> None:
    samples = among_silence(1, 0.7, 1.0, 0.8)[:, 0]
    settings = FeatureConfig(trim_db=30, n_fft=n_fft, hop_length=n_fft // 3)
    assert find_sound(np.split(samples, sorted(cuts)), settings) == find_sound([samples], settings)


def test_a_recording_of_many_blocks_is_trimmed_as_the_whole() -> None:
    samples = among_silence(2, 21.0, 5.0, 12.0, 48000)
    mono = librosa.resample(samples[:, 0], orig_sr=48000, target_sr=24000, res_type="soxr_hq")
    kept, _ = librosa.effects.trim(mono, top_db=40)
    trimmed = prepare(samples, 48000, FeatureConfig(trim_db=40, level="none"))
    np.testing.assert_array_equal(trimmed, kept[:48000])


@pytest.mark.parametrize(("n_samples", "value"), [(0, 0), (1, 0), (1, 1), (900, 0)])
@pytest.mark.parametrize("n_fft", [2048, 2047])
@pytest.mark.parametrize("rate", [100, 24000, 44100, 5_000_000])
def test_hardly_any_sound_at_any_rate_is_trimmed_without_harm(
    n_samples: int, value: int, n_fft: int, rate: int
) -> None:
    samples = np.full((n_samples, 1), value, np.float32)
    for settings in (FeatureConfig(trim_db=10, n_fft=n_fft), FeatureConfig(trim_db=10, n_fft=n_fft, pad="loop")):
        clip = prepare(samples, rate, settings)
        assert clip.shape == (48000,)
        assert np.isfinite(clip).all()
        assert clip.any() <= samples.any()


def test_silence_is_not_trimmed() -> None:
    assert find_sound([np.zeros(5000, np.float32)], FeatureConfig(trim_db=10)) == Sound(0, 5000, 5000)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [3e38, np.inf, np.nan])
def test_samples_beyond_all_measure_are_refused_before_they_are_trimmed(value: float) -> None:
    samples = voice(0, 1.0, 24000)
    samples[5000] = value
    with pytest.raises(AudioError, match=r"times full scale|not finite"):
        prepare(samples, 24000, FeatureConfig(trim_db=30))


@pytest.mark.parametrize(("rate", "seconds", "hop_length"), [(100, 600, 512), (24000, 60, 32), (2_000_000, 12, 512)])
def test_trimming_costs_no_memory_however_long_the_recording_is(rate: int, seconds: int, hop_length: int) -> None:
    samples = np.resize(voice(0, 1.0, 24000), (rate * seconds, 1))  # the last are 96 MB; the first, at 24 kHz, 58 MB
    tracemalloc.start()
    prepare(samples, rate, FeatureConfig(trim_db=30, hop_length=hop_length))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 2**24  # frames of 16 MiB at once and their squares


@given(sample_rate=st.integers(4000, 192000), n_fft=st.integers(64, 16384))
@example(sample_rate=4000, n_fft=501)  # an odd window, and a whole number of steps to the clip
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
