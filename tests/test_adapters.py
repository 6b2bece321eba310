import re
from pathlib import PurePosixPath

import pytest

from ser_tune.adapters import ADAPTERS, Label
from ser_tune.config import EMOTIONS

# From the documentation of each corpus: a path as its copies have it, and what it means.
NAMES = {
    "ravdess": {
        "Actor_12/03-01-06-01-02-01-12.wav": ("12", "fearful", "dogs"),
        "audio_speech_actors_01-24/Actor_01/03-01-08-02-01-02-01.WAV": ("01", "surprise", "kids"),
        "Ravdess/03-01-01-01-01-01-24.flac": ("24", "neutral", "kids"),
    },
    "tess": {
        "OAF_angry/OAF_back_angry.wav": ("OAF", "angry", "back"),
        "YAF_pleasant_surprised/YAF_chat_ps.wav": ("YAF", "surprise", "chat"),
        "OAF_Pleasant_surprise/OAF_food_Pleasant_surprise.wav": ("OAF", "surprise", "food"),
        "OAF_neutral/OA_bite_neutral.wav": ("OAF", "neutral", "bite"),
        "OAF_Fear/OAF_food_fear.wav": ("OAF", "fearful", "food"),
        "wrong_folder/YAF_germ_sad.wav": ("YAF", "sad", "germ"),
    },
    "savee": {
        "ALL/DC_a01.wav": ("DC", "angry", "01"),
        "ALL/KL_sa15.wav": ("KL", "sad", "15"),
        "AudioData/JE/su07.wav": ("JE", "surprise", "07"),
        "AudioData/JK/n30.wav": ("JK", "neutral", "30"),
        "Savee/DC_d03.wav": ("DC", "disgust", "03"),
    },
    "crema-d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("1001", "angry", "DFA"),
        "AudioWAV/1091_IEO_HAP_LO.wav": ("1091", "happy", "IEO"),
        "Crema/1040_ITH_SAD_X.wav": ("1040", "sad", "ITH"),
    },
    "emo-db": {
        "wav/03a01Fa.wav": ("03", "happy", "a01"),
        "wav/16b10Wb.wav": ("16", "angry", "b10"),
        "wav/08a02Tc.wav": ("08", "sad", "a02"),
    },
}


def paths(corpus: str) -> list[PurePosixPath]:
    return [PurePosixPath("data", name) for name in NAMES[corpus]]


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_names_mean_what_the_corpus_documents(corpus: str) -> None:
    assert [ADAPTERS[corpus](path) for path in paths(corpus)] == [Label(*label) for label in NAMES[corpus].values()]


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_no_adapter_claims_names_of_another_corpus(corpus: str) -> None:
    others = [path for other in ADAPTERS if other != corpus for path in paths(other)]
    assert [ADAPTERS[corpus](path) for path in others] == [None] * len(others)


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_every_label_is_one_of_the_eight_emotions(corpus: str) -> None:
    labels = [ADAPTERS[corpus](path) for path in paths(corpus)]
    assert all(isinstance(label, Label) and label.emotion in EMOTIONS for label in labels)


@pytest.mark.parametrize("corpus", ADAPTERS)
@pytest.mark.parametrize("name", ["take 1.wav", "a01.wav", "03-01-09-01-01-01-01.wav", "03-01-01-01-01-01-25.wav"])
def test_other_names_belong_to_no_corpus(corpus: str, name: str) -> None:
    assert ADAPTERS[corpus](PurePosixPath("some folder", name)) is None


@pytest.mark.parametrize(
    ("corpus", "name", "reason"),
    [
        ("ravdess", "03-02-03-01-01-01-01.wav", "not speech alone: .*song"),
        ("ravdess", "01-01-03-01-01-01-01.wav", "not speech alone: .*video"),
        ("ravdess", "02-01-03-01-01-01-01.wav", "not speech alone: .*video"),
        ("emo-db", "03a04Lc.wav", "emotion: boredom is none of the eight"),
    ],
)
def test_what_is_no_emotional_speech_is_left_out_with_its_reason(corpus: str, name: str, reason: str) -> None:
    found = ADAPTERS[corpus](PurePosixPath(name))
    assert isinstance(found, str)
    assert re.match(reason, found)


def test_savee_reads_two_letter_codes_before_one_letter_ones() -> None:
    emotions = {code: ADAPTERS["savee"](PurePosixPath(f"ALL/DC_{code}01.wav")) for code in ("sa", "su", "a")}
    assert {code: label.emotion for code, label in emotions.items() if isinstance(label, Label)} == {
        "sa": "sad",
        "su": "surprise",
        "a": "angry",
    }
