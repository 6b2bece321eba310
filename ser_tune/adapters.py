"""One short adapter per corpus: the path of a recording -> what its name tells.

Each returns a Label, or why the recording is left out ("kind: detail"), or None where the name is not one of its own.
The codes are those of each corpus's documentation. To add a corpus, write a function and name it in ADAPTERS.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from ser_tune.config import EMOTIONS


@dataclass(frozen=True)
class Label:
    """What the name of a recording tells; `speaker` is unique within its corpus."""

    speaker: str
    emotion: str
    text: str


def ravdess(path: PurePath) -> Label | str | None:
    """Read 03-01-06-01-02-01-12: modality-channel-emotion-intensity-statement-repetition-actor."""
    match = re.fullmatch(r"(0[1-3])-(0[12])-(0[1-8])-0[12]-(0[12])-0[12]-(0[1-9]|1\d|2[0-4])", path.stem)
    if match is None:
        return None
    modality, channel, emotion, statement, actor = match.groups()
    if modality != "03":
        return f"not speech alone: RAVDESS modality {modality} belongs to a video; 03 is audio"
    if channel != "01":
        return f"not speech alone: RAVDESS channel {channel} is song; 01 is speech"
    # EMOTIONS keeps the order of RAVDESS, whose codes count from 1.
    return Label(actor, EMOTIONS[int(emotion) - 1], {"01": "kids", "02": "dogs"}[statement])


def tess(path: PurePath) -> Label | str | None:
    """Read OAF_back_angry: speaker_word_emotion; one file misspells OAF as OA. Folder names are not reliable."""
    match = re.fullmatch(r"([OY])AF?_([a-z]+)_([a-z_ ]+)", path.stem, re.IGNORECASE)
    emotion = match and _TESS_EMOTIONS.get(match[3].lower().replace(" ", "_"))
    return Label(f"{match[1].upper()}AF", emotion, match[2].lower()) if match and emotion else None


def savee(path: PurePath) -> Label | str | None:
    """Read ALL/DC_a01 (the usual mirror) or DC/a01 (the original); the number is the sentence."""
    name = path.stem if "_" in path.stem else f"{path.parent.name}_{path.stem}"
    match = re.fullmatch(r"(DC|JE|JK|KL)_(sa|su|[adfhn])(\d\d)", name, re.IGNORECASE)
    return Label(match[1].upper(), _SAVEE_EMOTIONS[match[2].lower()], match[3]) if match else None


def crema_d(path: PurePath) -> Label | str | None:
    """Read 1001_DFA_ANG_XX: actor_sentence_emotion_level; older copies end one name in _X."""
    match = re.fullmatch(r"(1\d{3})_([A-Z]{3})_([A-Z]{3})_(?:LO|MD|HI|XX?)", path.stem, re.IGNORECASE)
    emotion = match and _CREMA_D_EMOTIONS.get(match[3].upper())
    return Label(match[1], emotion, match[2].upper()) if match and emotion else None


def emo_db(path: PurePath) -> Label | str | None:
    """Read 03a01Fa: speaker 03, text a01, emotion F (by its German initial), version a."""
    match = re.fullmatch(r"(\d\d)([ab]\d\d)([WLEAFTN])[a-z]?", path.stem, re.IGNORECASE)
    if match is None:
        return None
    if match[3].upper() == "L":
        return "emotion: boredom is none of the eight"
    return Label(match[1], _EMO_DB_EMOTIONS[match[3].upper()], match[2].lower())


ADAPTERS: Mapping[str, Callable[[PurePath], Label | str | None]] = {
    "ravdess": ravdess,
    "tess": tess,
    "savee": savee,
    "crema-d": crema_d,
    "emo-db": emo_db,
}

_TESS_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "pleasant_surprise": "surprise",
    "pleasant_surprised": "surprise",
    "ps": "surprise",
    "sad": "sad",
}
_SAVEE_EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprise",
}
_CREMA_D_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_EMO_DB_EMOTIONS = {
    "A": "fearful",
    "E": "disgust",
    "F": "happy",
    "N": "neutral",
    "T": "sad",
    "W": "angry",
}
