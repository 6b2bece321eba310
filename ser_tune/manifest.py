"""Clips and the facts of their audio -> one checked table of the clips to use, and one of those left out and why.

Out go undecodable and silent recordings, all copies of identical audio under different emotions, and every copy of the
same audio but one. InputError where no recording remains, or one emotion alone.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd

from ser_tune.adapters import ADAPTERS
from ser_tune.audio import AudioFacts
from ser_tune.config import DataConfig
from ser_tune.corpora import Clip, Excluded
from ser_tune.errors import InputError


@dataclass(frozen=True)
class Manifest:
    """`clips`: clip_id, corpus, speaker, emotion, text, path, duration_s [s], sample_rate [Hz], sha256 (of the decoded
    audio), sorted by clip_id. `excluded`: path, corpus, reason ("kind: detail"), sorted by path.
    """

    clips: pd.DataFrame
    excluded: pd.DataFrame


def build_manifest(
    clips: list[Clip], facts: Mapping[str, AudioFacts], excluded: list[Excluded], data: DataConfig
) -> Manifest:
    """Return the clips to use and everything left out; `facts` are by path, `excluded` was left out before.

    clip_id is corpus/file name, "~2", "~3" added where it repeats; it does not depend on where the folder lies.
    """
    judged = judge(clips, facts, keep_everything=data.keep_everything)
    usable = [clip for clip, reason in judged if not reason]
    left_out = excluded + [Excluded(clip.path, clip.corpus, reason) for clip, reason in judged if reason]
    refuse_no_clip(usable, left_out, data)
    _refuse_one_emotion(usable, left_out, data)
    return Manifest(_clip_table(usable, facts), _excluded_table(left_out))


def judge(
    clips: Iterable[Clip], facts: Mapping[str, AudioFacts], *, keep_everything: bool = False
) -> list[tuple[Clip, str]]:
    """Every clip with the reason to leave it out, "" for none; of the same audio the clip that stands first is kept.

    The order (clips of the known corpora, then by name and content) does not depend on where the folder lies.
    With `keep_everything` only what cannot be decoded has a reason.
    """
    ordered = sorted(clips, key=lambda clip: _order(clip, facts[clip.path].sha256))
    copies: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in ordered:
        copies[facts[clip.path].sha256].append(clip)
    judged = []
    kept: set[str] = set()
    for clip in ordered:
        reason = _fault(clip, facts[clip.path], copies[facts[clip.path].sha256], kept)
        if keep_everything and not facts[clip.path].error:
            reason = ""
        judged.append((clip, reason))
        if not reason:
            kept.add(facts[clip.path].sha256)
    return judged


def _order(clip: Clip, sha256: str) -> tuple[bool, str, str, str, str, str, str, str]:
    stem = PurePath(clip.path).stem
    return clip.corpus not in ADAPTERS, clip.corpus, stem, clip.speaker, clip.emotion, clip.text, sha256, clip.path


def _fault(clip: Clip, fact: AudioFacts, copies: list[Clip], kept: set[str]) -> str:
    if fact.error:
        return f"unreadable: {fact.error}"
    if fact.silent:
        return "silent: holds no sound (its peak is below -80 dB of full scale)"
    other = next((copy for copy in copies if copy.emotion != clip.emotion), None)
    if other:
        return f"contradicting labels: {clip.emotion} here, {other.emotion} for the same audio in {other.path}"
    return f"duplicate: same audio as {copies[0].path}" if fact.sha256 in kept else ""


def summary(excluded: Iterable[str]) -> dict[str, int]:
    """How many reasons there are of each kind (the text before the colon), the most frequent first."""
    return dict(Counter(reason.partition(":")[0] for reason in excluded).most_common())


def data_fingerprint(clips: pd.DataFrame) -> str:
    """SHA-256 [hex] of what the clips are, whatever their paths and order: audio, corpus, speaker, emotion, text."""
    content = clips[["sha256", "corpus", "speaker", "emotion", "text"]].astype(str)
    return hashlib.sha256(json.dumps(sorted(content.to_numpy().tolist())).encode()).hexdigest()


def refuse_no_clip(usable: list[Clip], left_out: list[Excluded], data: DataConfig) -> None:
    """Raise InputError, with what was found instead, unless a clip is left to use."""
    if not usable:
        raise InputError(
            f"no usable recording in {_what_was_found(left_out, data)}; expected RAVDESS, TESS, SAVEE, CREMA-D or "
            "EMO-DB under their own file names, unpacked, or a table of your own recordings with --csv"
        )


def _refuse_one_emotion(usable: list[Clip], left_out: list[Excluded], data: DataConfig) -> None:
    emotions = {clip.emotion for clip in usable}
    if len(emotions) == 1:
        raise InputError(
            f"only one emotion, {emotions.pop()}, in {_what_was_found(left_out, data)}; expected two or more"
        )


def _what_was_found(left_out: list[Excluded], data: DataConfig) -> str:
    where = " and ".join(str(place) for place in (data.data_dir, data.csv) if place)
    counts = ", ".join(f"{n} {kind}" for kind, n in summary(item.reason for item in left_out).items())
    return f"{where} (left out: {counts})" if counts else f"{where} (no other audio file is there)"


def _clip_table(usable: list[Clip], facts: Mapping[str, AudioFacts]) -> pd.DataFrame:
    rows = []
    seen: Counter[str] = Counter()
    for clip in usable:
        name = f"{clip.corpus}/{PurePath(clip.path).stem}"
        clip_id = name
        while seen[clip_id]:
            seen[name] += 1
            clip_id = f"{name}~{seen[name]}"
        seen[clip_id] += 1
        fact = facts[clip.path]
        labels = (clip.corpus, clip.speaker, clip.emotion, clip.text, clip.path)
        rows.append((clip_id, *labels, fact.duration_s, fact.sample_rate, fact.sha256))
    names = ["clip_id", "corpus", "speaker", "emotion", "text", "path", "duration_s", "sample_rate", "sha256"]
    return pd.DataFrame(rows, columns=names).sort_values("clip_id", ignore_index=True)


def _excluded_table(left_out: list[Excluded]) -> pd.DataFrame:
    rows = sorted((item.path, item.corpus, item.reason) for item in left_out)
    # An empty table needs its types told, or Parquet would store columns of nulls.
    return pd.DataFrame(rows, columns=["path", "corpus", "reason"]).astype(str)
