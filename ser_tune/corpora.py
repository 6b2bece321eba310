"""Folders and tables of recordings -> clips; every recording that is not one is listed with its reason.

A folder is searched for files that an adapter recognises; a table (CSV) names its recordings itself, anywhere, by a
path from the root or from the table's folder: exactly these are read, and only regular files. No audio is opened here.
InputError where a folder or table cannot be read, or a corpus asked for is not there.
"""

import csv
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_tune.adapters import ADAPTERS
from ser_tune.config import EMOTIONS, DataConfig
from ser_tune.errors import InputError

# The last four cannot be decoded: they are listed with that reason.
AUDIO_EXTENSIONS = frozenset(
    {".wav", ".w64", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf"}
    | {".m4a", ".aac", ".wma", ".amr"}
)
SYNTHETIC_MARKER = ".synthetic"  # a file in the folder of the sample corpora
_DEEPEST = 100  # os.walk calls itself for each level
_MOST_TABLE_BYTES = 2**28  # two million recordings; a table without a line break is read as one line
_SYNONYMS = {
    "afraid": "fearful",
    "anger": "angry",
    "disgusted": "disgust",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "pleasant surprise": "surprise",
    "sadness": "sad",
    "surprised": "surprise",
}


@dataclass(frozen=True)
class Clip:
    """One recording; `path` is absolute, `speaker` unique over all corpora, `text` "" where it is not known."""

    path: str
    corpus: str
    speaker: str
    emotion: str
    text: str


@dataclass(frozen=True)
class Excluded:
    """One recording left out; `reason` reads "kind: detail", `corpus` is "" where it is not known."""

    path: str
    corpus: str
    reason: str


def read_clips(data: DataConfig) -> tuple[list[Clip], list[Excluded]]:
    """Return the clips that `data` asks for and the recordings left out, both sorted by corpus and path."""
    found = list(_scan(data.data_dir)) if data.data_dir is not None else []
    rows = list(_read_table(data.csv)) if data.csv is not None else []
    listed = {row.path for row in rows}
    # What no adapter knows is not left out where the table names it.
    found = [item for item in found if item.corpus or item.path not in listed]
    items = _choose(found + rows, data)
    clips = [item for item in items if isinstance(item, Clip)]
    excluded = [item for item in items if isinstance(item, Excluded)]
    return (
        sorted(clips, key=lambda clip: (clip.corpus, clip.path, clip.emotion, clip.speaker, clip.text)),
        sorted(excluded, key=lambda item: (item.corpus, item.path, item.reason)),
    )


def _choose(items: list[Clip | Excluded], data: DataConfig) -> list[Clip | Excluded]:
    """The same items, clips of corpora and emotions that were not chosen turned into Excluded."""
    wanted = {_plain(name): name for name in data.corpora or ()}
    there = {_plain(item.corpus): item.corpus for item in items if isinstance(item, Clip)}
    absent = [name for plain, name in wanted.items() if plain not in there]
    if absent:
        where = " and ".join(str(place) for place in (data.data_dir, data.csv) if place)
        names = ", ".join(sorted(there.values())) or "no corpus at all"
        raise InputError(f"--corpora asks for {', '.join(absent)}; found in {where}: {names}")
    return [_leave_out_unchosen(item, wanted, data) if isinstance(item, Clip) else item for item in items]


def _leave_out_unchosen(clip: Clip, wanted: Mapping[str, str], data: DataConfig) -> Clip | Excluded:
    if wanted and _plain(clip.corpus) not in wanted:
        return _exclude(clip.path, clip.corpus, "not chosen: its corpus is not among --corpora")
    if clip.emotion not in data.emotions:
        return _exclude(clip.path, clip.corpus, f"not chosen: {clip.emotion} is not among --emotions")
    return clip


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).lower()


def printable(path: str | Path) -> str:
    """The path with bytes that are not UTF-8 written as escapes, fit for tables and terminals."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _exclude(path: str | Path, corpus: str, reason: str) -> Excluded:
    return Excluded(printable(path), corpus, reason)


def _scan(folder: Path) -> Iterator[Clip | Excluded]:
    """Every audio file below `folder`; links are followed, and each folder is visited once."""
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise InputError(f"--data-dir {folder}: {error.strerror}; expected a folder with recordings") from error
    if not stat.S_ISDIR(mode):
        raise InputError(f"--data-dir {folder} is a file; expected a folder (a table of recordings goes to --csv)")
    root = folder.resolve()
    visited = {root}
    closed: list[OSError] = []
    for parent, subfolders, names in os.walk(root, followlinks=True, onerror=closed.append):
        if SYNTHETIC_MARKER in names and Path(parent) != root:
            # Below --data-dir . lies feature_cache with the sample corpora, if they were ever made.
            subfolders.clear()
            yield _exclude(parent, "", "synthetic: a folder of sample corpora; no recordings")
            continue
        place, below = Path(parent).resolve(), Path(parent).relative_to(root).parts
        for name in names:
            if Path(name).suffix.lower() in AUDIO_EXTENSIONS:
                yield _recognise(place / name, (*below, name))
        if len(below) >= _DEEPEST:
            yield from (_exclude(place / name, "", f"unreadable: {_DEEPEST + 1} folders deep") for name in subfolders)
            subfolders.clear()
        subfolders[:] = [name for name in sorted(subfolders) if _is_new(Path(parent, name).resolve(), root, visited)]
    for refusal in closed:
        yield _exclude(refusal.filename, "", f"unreadable: folder cannot be opened ({refusal.strerror})")


def _is_new(folder: Path, root: Path, visited: set[Path]) -> bool:
    """Whether to visit a folder; a link to one above the root would lead out of it and round in circles."""
    new = folder not in visited and not root.is_relative_to(folder)
    visited.add(folder)
    return new


def _recognise(path: Path, parts: tuple[str, ...]) -> Clip | Excluded:
    """The clip at `path`; `parts` are the names of its folders below the searched one, and its own."""
    if path.name.startswith("._") or "__MACOSX" in parts:
        return _exclude(path, "", "macOS resource fork: holds no audio")
    if any(part.startswith(".") for part in parts):
        return _exclude(path, "", "hidden: its name, or that of a folder, begins with a dot")
    for corpus, adapter in ADAPTERS.items():
        label = adapter(path)
        if isinstance(label, str):
            return _exclude(path, corpus, label)
        if label is not None:
            return _openable(Clip(str(path), corpus, f"{corpus}-{label.speaker}", label.emotion, label.text))
    return _exclude(path, "", "not a corpus file: no known corpus names its files so; --csv takes any name")


def _openable(clip: Clip) -> Clip | Excluded:
    if printable(clip.path) != clip.path:
        return _exclude(clip.path, clip.corpus, "file name: holds bytes that are not UTF-8; rename it")
    try:
        mode = Path(clip.path).stat().st_mode
    except OSError as error:
        return _exclude(clip.path, clip.corpus, f"unreadable: {error.strerror}")
    # Opening a pipe would wait for ever.
    return clip if stat.S_ISREG(mode) else _exclude(clip.path, clip.corpus, "unreadable: not a regular file")


def _read_table(table: Path) -> Iterator[Clip | Excluded]:
    try:
        status = table.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_TABLE_BYTES:
            raise InputError(f"--csv {table} is no file, or of more than {_MOST_TABLE_BYTES} bytes; expected a table")
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            reader.fieldnames = columns = [name.strip().lower() for name in reader.fieldnames or ()]
            missing = [name for name in ("path", "emotion", "speaker") if name not in columns]
            if missing:
                raise InputError(
                    f"--csv {table} lacks {', '.join(missing)} among its columns ({', '.join(columns) or 'none'}); "
                    "expected path,emotion,speaker[,text,corpus], separated by commas"
                )
            for row in reader:
                if any(row.get(reader.restkey) or ()):
                    reason = "row of the table: more fields than columns; put in quotes what holds a comma"
                    yield _exclude(f"{table}:{reader.line_num}", "", reason)
                    continue
                yield _read_row(row, table, reader.line_num)
    except UnicodeDecodeError as error:
        raise InputError(f"--csv {table} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"--csv {table} cannot be read: {error.strerror}; expected a table of recordings") from error
    except csv.Error as error:
        raise InputError(f"--csv {table} is not a table of comma-separated values: {error}") from error


def _read_row(row: Mapping[str, str], table: Path, line: int) -> Clip | Excluded:
    name, emotion, speaker = (row[column].strip() for column in ("path", "emotion", "speaker"))
    corpus = row.get("corpus", "").strip() or "own"
    corpus = next((known for known in ADAPTERS if _plain(known) == _plain(corpus)), corpus)
    if not name or not speaker or "\0" in name:
        return _exclude(f"{table}:{line}", corpus, f"row of the table: no {'speaker' if name else 'path'}")
    if not (corpus + speaker).isprintable():  # both are shown on terminals
        return _exclude(f"{table}:{line}", "", "row of the table: control characters in its speaker or corpus")
    # The file's own link is not resolved: where git-annex or DVC keep the audio elsewhere, the link has the name.
    path = Path(os.path.realpath((table.parent / name).parent), Path(name).name)
    known = _SYNONYMS.get(emotion.lower(), emotion.lower())
    if known not in EMOTIONS:
        return _exclude(path, corpus, f"emotion: {emotion[:40] or 'an empty one'} is none of the eight")
    return _openable(Clip(str(path), corpus, speaker, known, row.get("text", "").strip()))
