import numpy as np
import pytest

from ser_tune.config import EMOTIONS
from ser_tune.voice import MANNERS, SAMPLE_RATE, Manner, Signal, Speaker, speak

SPEAKER = Speaker(pitch_hz=120, formant_scale=1.0, breath=0.0)
STEADY = Manner(1.0, 0.0, 0.0, 1.0, 0.5, 0.0, 1.0, 0.0)


def say(manner: Manner, vowel: int = 0, n_syllables: int = 6) -> Signal:
    return speak(SPEAKER, manner, np.full(n_syllables, vowel), np.random.default_rng(0))


def spectrum(waveform: Signal) -> tuple[Signal, Signal]:
    power: Signal = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) ** 2
    frequency: Signal = np.arange(len(power)) * SAMPLE_RATE / len(waveform)
    return frequency, power


def pitch_hz(waveform: Signal) -> float:
    """By autocorrelation, between 60 and 400 Hz."""
    power = np.abs(np.fft.rfft(waveform, 2 * len(waveform))) ** 2
    lags = np.arange(SAMPLE_RATE // 400, SAMPLE_RATE // 60)
    return float(SAMPLE_RATE / lags[np.fft.irfft(power)[lags].argmax()])


def test_every_emotion_has_a_manner() -> None:
    assert set(MANNERS) == set(EMOTIONS)


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.6])
def test_the_pitch_is_the_speakers_times_that_of_the_manner(ratio: float) -> None:
    manner = Manner(ratio, 0.0, 0.0, 1.0, 0.5, 0.0, 1.0, 0.0)
    assert pitch_hz(say(manner)) == pytest.approx(120 * ratio, rel=0.04)


@pytest.mark.parametrize(("vowel", "formants_hz"), [(1, (530, 1840)), (2, (270, 2290))])
def test_there_is_a_valley_between_the_formants_of_the_vowel(vowel: int, formants_hz: tuple[float, float]) -> None:
    frequency, power = spectrum(say(STEADY, vowel))
    first, middle, second = (
        power[abs(frequency - centre) < 130].sum() for centre in (formants_hz[0], sum(formants_hz) / 2, formants_hz[1])
    )
    assert first > 10 * middle
    assert second > 2 * middle


def test_more_effort_is_louder_and_has_less_tilt() -> None:
    def share_above_1_khz(effort: float) -> float:
        frequency, power = spectrum(say(Manner(1.0, 0.0, 0.0, 1.0, effort, 0.0, 1.0, 0.0)))
        return float(power[frequency > 1000].sum() / power.sum())

    loud, soft = (say(Manner(1.0, 0.0, 0.0, 1.0, effort, 0.0, 1.0, 0.0)) for effort in (1.0, 0.0))
    assert np.abs(loud).max() == pytest.approx(1.0)
    assert np.abs(soft).max() == pytest.approx(10 ** (-24 / 20))
    assert share_above_1_khz(1.0) > 2 * share_above_1_khz(0.0)


def test_a_faster_rate_is_shorter_in_proportion() -> None:
    slow, fast = (say(Manner(1.0, 0.0, 0.0, rate, 0.5, 0.0, 1.0, 0.0)) for rate in (0.7, 1.4))
    assert len(slow) / len(fast) == pytest.approx(2, rel=0.01)


def test_breath_fills_the_gaps_between_harmonics() -> None:
    def periodicity(breath: float) -> float:
        waveform = say(Manner(1.0, 0.0, 0.0, 1.0, 0.5, breath, 1.0, 0.0))
        lag = round(SAMPLE_RATE / pitch_hz(waveform))
        return float(np.corrcoef(waveform[lag:], waveform[:-lag])[0, 1])

    assert periodicity(0.0) > periodicity(0.9) + 0.1


def test_the_same_seed_says_the_same() -> None:
    assert np.array_equal(say(MANNERS["fearful"]), say(MANNERS["fearful"]))
