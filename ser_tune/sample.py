"""The sample corpora: about 400 synthetic voices in the layouts, rates and with some quirks of the four real corpora.

They serve to try the program without any recording; nobody speaks in them, and a score on them says nothing about
speech. The same bytes come out each time.
"""

import io
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ser_tune.config import EMOTIONS, Emotion
from ser_tune.corpora import SYNTHETIC_MARKER
from ser_tune.errors import InputError
from ser_tune.files import lock, require_writable
from ser_tune.voice import MANNERS, SAMPLE_RATE, Signal, Speaker, speak, vary

VERSION = 2  # part of every seed; raise it when the voices change
# Variation within an emotion, where 1 is about the distance between emotions. On random splits the published network
# reaches 67% with 0.3 and 56% with 0.6 (lr 0.001, 12 epochs); at lr 0.005 and 0.01 it collapses.
SPREAD = 0.3
README = """\
Synthetic voices, made by ser_tune (python -m ser_tune.search without --data-dir).

Nobody speaks here: a program made these sounds, in the folder layouts and sample rates of RAVDESS, TESS, SAVEE and
CREMA-D and with a few of their quirks, so that everything can be tried without downloading a corpus. No real
recording is among them, and no score reached on them says anything about speech.
"""


@dataclass(frozen=True)
class Script:
    """One clip to be spoken: its file below the corpus folder, who says which text, and how."""

    name: str
    speaker: str
    male: bool
    text: str
    emotion: Emotion


@dataclass(frozen=True)
class Recorder:
    """How a corpus is recorded: sample rate [Hz], silence before and after the speech [s, from and to], noise floor and
    level [of full scale], and the number of syllables in a clip.
    """

    sample_rate: int
    silence_s: tuple[float, float]
    noise: float
    level: float
    n_syllables: int


def make_sample_corpora(folder: Path) -> None:
    """Fill `folder` with the sample corpora, unless they are there; it is whole or absent at any time."""
    marker = folder / SYNTHETIC_MARKER
    if _is_made(marker):  # also where nothing can be written
        return
    require_writable(folder.parent, "--cache-dir")
    with lock(folder.parent / f".{folder.name}.lock"):
        if _is_made(marker):
            return
        if folder.exists() and not marker.exists():
            raise InputError(f"{folder} is in the way: the sample corpora belong there; move it or delete it")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            made = Path(temporary) / "made"
            _fill(made)
            rmtree(folder, ignore_errors=True)
            made.rename(folder)


def _is_made(marker: Path) -> bool:
    return marker.exists() and marker.read_text() == str(VERSION)


def _fill(folder: Path) -> None:
    for corpus in RECORDERS:
        speak_corpus(folder, corpus)
    _add_quirks(folder)
    (folder / "README.txt").write_text(README)
    (folder / SYNTHETIC_MARKER).write_text(str(VERSION))


def speak_corpus(folder: Path, corpus: str) -> None:
    """Write the clips of one corpus, named as in RECORDERS, below `folder`, without quirks."""
    recorder, scripts = RECORDERS[corpus]
    for script in scripts():
        _write(folder / corpus / script.name, _voice(corpus, recorder, script), recorder.sample_rate)


def _ravdess() -> Iterator[Script]:
    for actor in range(1, 7):
        for code, emotion in enumerate(EMOTIONS, start=1):
            # Calm exists in no other corpus, so it is said twice.
            for repetition in (1, 2) if emotion == "calm" else (1,):
                for statement in (1, 2):
                    name = f"Actor_{actor:02}/03-01-{code:02}-01-{statement:02}-{repetition:02}-{actor:02}.wav"
                    yield Script(name, f"actor {actor}", actor % 2 == 1, f"statement {statement}", emotion)


def _tess() -> Iterator[Script]:
    words = ("back", "bite", "chair", "food", "germ", "neat", "road", "young")
    codes = {"fearful": "fear", "surprise": "ps"}
    for speaker in ("OAF", "YAF"):
        for emotion in (each for each in EMOTIONS if each != "calm"):
            code = codes.get(emotion, emotion)
            for word in words:
                # The real one has this slip, too.
                written = "OA" if (speaker, word, code) == ("OAF", "bite", "neutral") else speaker
                yield Script(f"{speaker}_{code}/{written}_{word}_{code}.wav", speaker, False, word, emotion)


def _savee() -> Iterator[Script]:
    codes: dict[str, Emotion]
    codes = {"a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad", "su": "surprise"}
    for speaker in ("DC", "JE", "JK", "KL"):
        for code, emotion in codes.items():
            for sentence in range(1, 7 if code == "n" else 4):
                yield Script(f"ALL/{speaker}_{code}{sentence:02}.wav", speaker, True, f"sentence {sentence}", emotion)


def _crema_d() -> Iterator[Script]:
    codes: dict[str, Emotion]
    codes = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
    for actor in range(1001, 1007):
        for sentence in ("DFA", "MTI", "TIE"):
            for code, emotion in codes.items():
                name = f"AudioWAV/{actor}_{sentence}_{code}_XX.wav"
                yield Script(name, f"actor {actor}", actor % 2 == 1, sentence, emotion)


RECORDERS: Mapping[str, tuple[Recorder, Callable[[], Iterator[Script]]]] = {
    "RAVDESS": (Recorder(48000, (0.5, 1.0), 2e-5, 0.1, 6), _ravdess),
    "TESS": (Recorder(24414, (0.0, 0.05), 2e-4, 0.4, 6), _tess),
    "SAVEE": (Recorder(44100, (0.1, 0.2), 1e-4, 1.0, 9), _savee),
    "CREMA-D": (Recorder(16000, (0.1, 0.3), 1e-3, 0.3, 7), _crema_d),
}


def _voice(corpus: str, recorder: Recorder, script: Script) -> Signal:
    """The clip's waveform [samples] at the rate of its corpus."""
    of_speaker = _generator(corpus, script.speaker)
    pitch_hz, scale = (115, 1.0) if script.male else (200, 1.15)
    speaker = Speaker(
        pitch_hz * of_speaker.uniform(0.85, 1.15), scale * of_speaker.uniform(0.95, 1.05), of_speaker.uniform(0, 0.1)
    )
    syllables = _generator(corpus, script.text).integers(5, size=recorder.n_syllables)
    rng = _generator(corpus, script.name)
    said = speak(speaker, vary(MANNERS[script.emotion], SPREAD, rng), syllables, rng)
    low, high = recorder.silence_s
    before, after = (int(rng.uniform(low, high) * SAMPLE_RATE) for _ in range(2))
    waveform = recorder.level * np.pad(said, (before, after))
    waveform += rng.normal(0, recorder.noise, len(waveform))
    return np.asarray(soxr.resample(waveform, SAMPLE_RATE, recorder.sample_rate), dtype=np.float64)


def _generator(*names: str) -> np.random.Generator:
    return np.random.default_rng([VERSION, *(zlib.crc32(name.encode()) for name in names)])


def _write(path: Path, waveform: npt.NDArray[np.float64], sample_rate: int, **form: str) -> None:
    """Write [samples] or [samples, channels] as 16-bit audio, by way of memory: a full disk is then an OSError."""
    audio = io.BytesIO()
    options = {"format": "WAV", **form}
    soundfile.write(audio, np.clip(waveform, -1, 1), sample_rate, subtype="PCM_16", **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(audio.getvalue())


def _add_quirks(folder: Path) -> None:
    """Repeat faults of the real corpora: stereo, a copy, an AIFF-C named .wav, contradicting labels, no sound."""
    stereo = folder / "RAVDESS/Actor_01/03-01-02-01-01-02-01.wav"
    waveform, sample_rate = soundfile.read(stereo)
    _write(stereo, np.stack([waveform, 0.9 * waveform], axis=1), sample_rate)

    original = folder / "RAVDESS/Actor_05/03-01-03-01-02-01-05.wav"
    original.with_name("03-01-03-01-02-02-05.wav").write_bytes(original.read_bytes())

    aiff = folder / "TESS/YAF_fear/YAF_neat_fear.wav"
    waveform, sample_rate = soundfile.read(aiff)
    _write(aiff, waveform, sample_rate, format="AIFF", endian="LITTLE")  # libsndfile makes it AIFF-C

    happy = folder / "CREMA-D/AudioWAV/1006_TIE_HAP_XX.wav"
    happy.with_name("1006_TIE_NEU_XX.wav").write_bytes(happy.read_bytes())

    silent = folder / "CREMA-D/AudioWAV/1003_MTI_SAD_XX.wav"
    _write(silent, np.zeros(2 * 16000), 16000)
