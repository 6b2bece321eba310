import copy
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_tune.audio import read_audio, read_blocks
from ser_tune.config import EMOTIONS, FeatureConfig, ModelConfig
from ser_tune.dataset import Standardisation
from ser_tune.errors import AudioError
from ser_tune.export import Bundle
from ser_tune.features import extract_features, find_sound, prepare, resample
from ser_tune.inference import Classification, classify, cut_windows
from ser_tune.model import EmotionNetwork, build_network

SETTINGS = FeatureConfig(duration_s=1.0)


@pytest.fixture(scope="module")
def classifier() -> tuple[Bundle, EmotionNetwork]:
    """A network of random weights that answers differently to different sounds."""
    random = np.random.default_rng(0)
    standardisation = Standardisation(
        random.normal(0, 10, 39).astype(np.float32), random.uniform(1, 9, 39).astype(np.float32)
    )
    model = ModelConfig(channels=(4, 4), hidden=(16, 8))
    torch.manual_seed(0)
    network = build_network(model, SETTINGS.n_coefficients, SETTINGS.n_frames, len(EMOTIONS)).eval()
    return Bundle(SETTINGS, EMOTIONS, standardisation, model, {}), network


def _sound(n_samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A wandering tone in noise [samples, channels]."""
    random = np.random.default_rng(seed)
    phase = np.cumsum(0.02 + 0.1 * np.abs(np.sin(np.arange(n_samples) / 9000)))
    noise = random.normal(0, 0.02, (n_samples, channels))
    return np.asarray(0.3 * np.sin(phase)[:, None] + noise, dtype=np.float32)


def _expected(path: Path, windows: list[tuple[float, float]], classifier: tuple[Bundle, EmotionNetwork]) -> np.ndarray:
    """Probabilities of the windows [s] of a recording at the features' own rate, one by one."""
    bundle, network = classifier
    waveform, sample_rate = read_audio(path)
    assert sample_rate == SETTINGS.sample_rate
    rows = []
    for start_s, end_s in windows:
        clip = prepare(waveform[round(start_s * sample_rate) : round(end_s * sample_rate)], sample_rate, SETTINGS)
        features = extract_features(clip[None], SETTINGS)
        mean, std = bundle.standardisation.mean[:, None], bundle.standardisation.std[:, None]
        with torch.no_grad():
            rows.append(network.probabilities(torch.from_numpy((features - mean) / std))[0].numpy())
    return np.array(rows)


def _times(found: Classification) -> list[tuple[float, float]]:
    return [(round(window.start_s, 3), round(window.end_s, 3)) for window in found.windows]


@pytest.mark.parametrize(
    ("duration_s", "windows"),
    [
        (0.3, [(0.0, 0.3)]),
        (1.0, [(0.0, 1.0)]),
        (1.02, [(0.0, 1.0)]),  # a rest of less than a hop of 21 ms
        (1.5, [(0.0, 1.0), (0.5, 1.5)]),
        (2.0, [(0.0, 1.0), (1.0, 2.0)]),
        (3.25, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (2.25, 3.25)]),
    ],
)
def test_windows_follow_each_other_and_the_last_ends_with_the_recording(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork], duration_s: float, windows: list[tuple[float, float]]
) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, _sound(round(duration_s * 24000), channels=2), 24000, subtype="FLOAT")
    found = classify(path, *classifier)
    assert _times(found) == windows
    expected = _expected(path, windows, classifier)
    np.testing.assert_allclose([window.probabilities for window in found.windows], expected, atol=1e-6)
    np.testing.assert_allclose(found.probabilities, expected.mean(axis=0), atol=1e-6)
    assert found.duration_s == pytest.approx(duration_s, abs=512 / 24000)


def test_windows_of_different_sound_get_different_probabilities(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork]
) -> None:
    soundfile.write(tmp_path / "x.wav", np.r_[_sound(24000), _sound(24000) ** 3], 24000, subtype="FLOAT")
    first, second = classify(tmp_path / "x.wav", *classifier).windows
    assert np.abs(first.probabilities - second.probabilities).max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([8000, 16000, 22050, 24000, 24414, 44100, 48000, 96000]), st.integers(1, 2), st.floats(0.01, 2.5)
)
def test_what_training_sees_of_a_recording_is_its_first_window(
    tmp_path_factory: pytest.TempPathFactory, sample_rate: int, channels: int, duration_s: float
) -> None:
    path = tmp_path_factory.mktemp("sound") / "x.wav"
    soundfile.write(path, _sound(max(1, round(duration_s * sample_rate)), channels), sample_rate)
    _, window = next(cut_windows(path, SETTINGS))
    trained_on = prepare(*read_audio(path), SETTINGS)
    np.testing.assert_array_equal(prepare(window[:, None], SETTINGS.sample_rate, SETTINGS), trained_on)


@pytest.mark.parametrize(
    "features",
    [replace(SETTINGS, pad="loop"), replace(SETTINGS, trim_db=30), replace(SETTINGS, pad="loop", trim_db=30)],
    ids=["loop", "trim", "loop-trim"],
)
@pytest.mark.parametrize(
    ("sample_rate", "silence_s", "sound_s"),
    [(24000, 0.0, 0.2), (24000, 0.3, 0.2), (44100, 0.1, 0.7), (16000, 0.0, 1.0), (44100, 0.3, 2.3), (48000, 12.0, 0.5)],
)  # 12 s are two blocks of reading
def test_trimmed_and_looped_a_recording_gives_the_features_it_was_trained_on(
    tmp_path: Path,
    classifier: tuple[Bundle, EmotionNetwork],
    monkeypatch: pytest.MonkeyPatch,
    features: FeatureConfig,
    sample_rate: int,
    silence_s: float,
    sound_s: float,
) -> None:
    silence = 1e-3 * _sound(round(silence_s * sample_rate))
    sound = _sound(round(sound_s * sample_rate))
    soundfile.write(tmp_path / "x.wav", np.r_[silence, sound, silence], sample_rate, subtype="FLOAT")
    seen: list[np.ndarray] = []

    def watched(clips: np.ndarray, settings: FeatureConfig) -> np.ndarray:
        seen.extend(extract_features(clips, settings))
        return np.array(seen[-len(clips) :])

    monkeypatch.setattr("ser_tune.inference.extract_features", watched)
    bundle, network = classifier
    classify(tmp_path / "x.wav", replace(bundle, features=features), network)
    trained_on = extract_features(prepare(*read_audio(tmp_path / "x.wav"), features)[None], features)
    np.testing.assert_array_equal(seen[0], trained_on[0])
    if features.trim_db and sound_s < 0.8:
        assert len(seen) == 1


def test_windows_of_a_trimmed_recording_keep_its_pauses_and_its_times(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork]
) -> None:
    silence, pause, sound = np.zeros((36000, 1)), np.full((24000, 1), 2e-4), _sound(24000)
    pause[::2] *= -1
    soundfile.write(tmp_path / "x.wav", np.r_[silence, sound, pause, sound, silence], 24000, subtype="FLOAT")
    bundle, network = classifier
    trimming = replace(bundle, features=replace(SETTINGS, trim_db=30))
    found = classify(tmp_path / "x.wav", trimming, network)
    starts = [window.start_s for window in found.windows]
    assert 1.5 - 1024 / 24000 <= starts[0] <= 1.5
    np.testing.assert_allclose(np.diff(starts)[:-1], 1.0)
    assert 4.5 <= found.windows[-1].end_s <= 4.5 + 1536 / 24000
    assert found.duration_s == 6.0
    expected = _expected(tmp_path / "x.wav", [(w.start_s, w.end_s) for w in found.windows], classifier)
    np.testing.assert_allclose([window.probabilities for window in found.windows], expected, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("n_samples", [1, 30000])
def test_a_recording_without_sound_is_refused_when_trimmed_too(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork], offset: float, n_samples: int
) -> None:
    bundle, network = classifier
    soundfile.write(tmp_path / "x.wav", np.full((n_samples, 1), offset), 24000)
    with pytest.raises(AudioError, match="holds no sound: there is nothing to classify"):
        classify(tmp_path / "x.wav", replace(bundle, features=replace(SETTINGS, trim_db=10, pad="loop")), network)


def test_a_recording_in_pieces_is_resampled_as_the_whole(tmp_path: Path) -> None:
    sound = _sound(48000 * 25)  # three blocks of reading
    soundfile.write(tmp_path / "long.wav", sound, 48000, subtype="FLOAT")
    long = np.concatenate([samples for _, samples in cut_windows(tmp_path / "long.wav", SETTINGS)])
    whole = prepare(sound, 48000, FeatureConfig(duration_s=25.0, level="none"))
    np.testing.assert_array_equal(long, whole)


@pytest.mark.parametrize(("name", "subtype"), [("x.flac", "PCM_24"), ("x.ogg", "VORBIS"), ("x.aiff", "PCM_16")])
def test_formats_rates_and_channels_do_not_matter(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork], name: str, subtype: str
) -> None:
    soundfile.write(tmp_path / name, _sound(66150, channels=2), 44100, subtype=subtype)
    found = classify(tmp_path / name, *classifier)
    assert _times(found) == [(0.0, 1.0), (0.5, 1.5)]
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_windows_without_sound_are_left_out_of_the_mean(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork]
) -> None:
    soundfile.write(tmp_path / "x.wav", np.r_[np.zeros((48000, 1)), _sound(24000)], 24000, subtype="FLOAT")
    found = classify(tmp_path / "x.wav", *classifier)
    assert _times(found) == [(2.0, 3.0)]
    assert found.duration_s == 3.0
    np.testing.assert_array_equal(found.probabilities, found.windows[0].probabilities)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_a_recording_without_sound_is_not_classified(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork], offset: float
) -> None:
    soundfile.write(tmp_path / "silent.wav", np.full((30000, 1), offset), 24000)
    with pytest.raises(AudioError, match="holds no sound: there is nothing to classify"):
        classify(tmp_path / "silent.wav", *classifier)


def test_channels_that_cancel_out_hold_no_sound(tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork]) -> None:
    sound = _sound(24000)
    soundfile.write(tmp_path / "x.wav", np.hstack([sound, -sound]), 24000, subtype="FLOAT")
    with pytest.raises(AudioError, match="holds no sound"):
        classify(tmp_path / "x.wav", *classifier)


@pytest.mark.parametrize("sample_rate", [1, 7, 100, 768000, 5_000_000])
@pytest.mark.parametrize(("pad", "trim_db"), [("zero", 0), ("loop", 30)])
def test_absurd_rates_are_classified_or_refused(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork], sample_rate: int, pad: str, trim_db: float
) -> None:
    soundfile.write(tmp_path / "x.wav", _sound(20), sample_rate)
    bundle, network = classifier
    try:
        features = replace(SETTINGS, pad=pad, trim_db=trim_db)  # type: ignore[arg-type] # parametrize knows strings only
        found = classify(tmp_path / "x.wav", replace(bundle, features=features), network)
        assert np.isfinite(found.probabilities).all()
    except AudioError as refusal:
        assert re.match("holds no sound|claims [0-9]+ samples", str(refusal))  # noqa: PT017 - either outcome is right


def test_a_bundle_that_answers_with_nan_is_not_believed(
    tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork]
) -> None:
    bundle, network = classifier
    tiny = Standardisation(bundle.standardisation.mean, np.full(39, 2e-30, np.float32))
    for parameter in (network := copy.deepcopy(network)).parameters():
        parameter.data.mul_(1e6)
    soundfile.write(tmp_path / "x.wav", _sound(24000), 24000)
    with pytest.raises(AudioError, match="the bundle answers with what are no probabilities"):
        classify(tmp_path / "x.wav", replace(bundle, standardisation=tiny), network)


@pytest.mark.filterwarnings("error")
def test_samples_beyond_all_measure_are_refused(tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork]) -> None:
    for value, reason in ((3e38, "times full scale"), (np.inf, "not finite"), (np.nan, "not finite")):
        sound = _sound(30000)
        sound[::7] = value
        soundfile.write(tmp_path / "x.wav", sound, 24000, subtype="FLOAT")
        with pytest.raises(AudioError, match=reason):
            classify(tmp_path / "x.wav", *classifier)


@pytest.mark.parametrize("trim_db", [0, 30])
def test_a_long_recording_costs_no_memory(tmp_path: Path, trim_db: float) -> None:
    minutes, features = 3, replace(SETTINGS, trim_db=trim_db)
    with soundfile.SoundFile(tmp_path / "x.wav", "w", 48000, 1) as file:
        for _ in range(minutes):
            file.write(_sound(48000 * 60))
    tracemalloc.start()
    sound = find_sound(resample(read_blocks(tmp_path / "x.wav"), 24000), features) if trim_db else None
    n_windows = sum(1 for _ in cut_windows(tmp_path / "x.wav", features, sound))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_windows == minutes * 60
    assert peak < 4 * 10 * 48000 * 6  # a few blocks of 10 s in float32; the whole has 180 s
