"""Clips, the facts of their audio and what is left out -> the tables and lists that an audit prints."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.table import Table

from ser_tune.audio import AudioFacts
from ser_tune.config import EMOTIONS
from ser_tune.corpora import Clip, Excluded
from ser_tune.manifest import judge

# Recordings of speech in the complete corpora, as their authors published them.
EXPECTED = {"ravdess": 1440, "tess": 2800, "savee": 480, "crema-d": 7442, "emo-db": 535}
LISTED = 20  # of each kind
_CHECKS = {
    "duplicate": "same audio again",
    "contradicting labels": "same audio, other emotion",
    "silent": "no sound",
    "unreadable: empty file": "empty files",
    "unreadable: Git-LFS pointer": "Git-LFS pointers",
    "unreadable": "unreadable otherwise",
    "emotion": "none of the eight emotions",
    "not speech alone": "song or video",
    "not chosen": "not chosen",
    "": "no recording of a corpus",
}


@dataclass(frozen=True)
class Findings:
    """All `clips` and those `usable`; what is `left_out`; all `faults`, used in spite of them or not; facts by path."""

    clips: list[Clip]
    usable: list[Clip]
    left_out: list[Excluded]
    faults: list[Excluded]
    facts: Mapping[str, AudioFacts]


def find(
    clips: list[Clip], facts: Mapping[str, AudioFacts], excluded: list[Excluded], *, keep_everything: bool
) -> Findings:
    """Judge the clips as the manifest does; `excluded` was left out before."""
    judged = judge(clips, facts, keep_everything=keep_everything)
    strictly = judge(clips, facts)
    left_out, faults = (
        excluded + [Excluded(clip.path, clip.corpus, reason) for clip, reason in verdicts if reason]
        for verdicts in (judged, strictly)
    )
    return Findings(clips, [clip for clip, reason in judged if not reason], left_out, faults, facts)


def tables(found: Findings) -> Iterator[Table]:
    """The tables, at most 80 columns wide for the known corpora."""
    names = {clip.corpus for clip in found.clips} | {item.corpus for item in found.left_out if item.corpus}
    corpora = sorted(names, key=_rank)
    yield _counts(found, corpora)
    yield _emotions(found, corpora)
    yield _audio(found, corpora)
    yield _checks(found)


def _rank(corpus: str) -> tuple[int, str]:
    known = list(EXPECTED)
    return (known.index(corpus) if corpus in known else len(known), corpus)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", padding=(0, 1), pad_edge=False, box=None)
    for column in columns:
        table.add_column(
            column, justify="left" if column in ("corpus", "finding", "note") else "right", overflow="fold"
        )
    return table


def _counts(found: Findings, corpora: list[str]) -> Table:
    table = _table("Corpora", "corpus", "found", "expected", "usable", "speakers", "note")
    n_usable = Counter(clip.corpus for clip in found.usable)
    # Songs are no part of the corpus that is counted; boredom and what was not chosen are.
    parts = [item for item in found.left_out if not item.reason.startswith("not speech alone")]
    n_found = Counter(clip.corpus for clip in found.usable) + Counter(item.corpus for item in parts)
    for corpus in corpora:
        speakers = {clip.speaker for clip in found.clips if clip.corpus == corpus}
        n, expected = n_found[corpus], EXPECTED.get(corpus)
        table.add_row(corpus, *map(str, (n, expected or "-", n_usable[corpus], len(speakers))), _note(n, expected))
    if len(corpora) > 1:
        n_speakers = len({clip.speaker for clip in found.clips})
        total = sum(n_found[corpus] for corpus in corpora)
        table.add_row("all", str(total), "", str(len(found.usable)), str(n_speakers), "")
    return table


def _note(n: int, expected: int | None) -> str:
    if expected is None:
        return ""
    if n == expected:
        return "complete"
    return f"{expected - n} missing" if n < expected else f"{n - expected} more: a second copy?"


def _emotions(found: Findings, corpora: list[str]) -> Table:
    table = _table("Emotions of the clips found", "corpus", *EMOTIONS)
    counts = Counter((clip.corpus, clip.emotion) for clip in found.clips)
    for corpus in corpora:
        table.add_row(corpus, *(str(counts[corpus, emotion]) for emotion in EMOTIONS))
    return table


def _audio(found: Findings, corpora: list[str]) -> Table:
    table = _table("Audio", "corpus", "shortest", "median", "longest", "total", "rates [Hz] (clips)", "stereo")
    facts: defaultdict[str, list[AudioFacts]] = defaultdict(list)
    for clip in found.clips:
        if not found.facts[clip.path].error:
            facts[clip.corpus].append(found.facts[clip.path])
    for corpus in (corpus for corpus in corpora if facts[corpus]):
        lengths = [fact.duration_s for fact in facts[corpus]]
        spread = (f"{value:.2f} s" for value in (min(lengths), statistics.median(lengths), max(lengths)))
        rates = Counter(fact.sample_rate for fact in facts[corpus]).most_common()
        shown = ", ".join(f"{rate} ({n})" for rate, n in rates)
        n_stereo = sum(fact.channels > 1 for fact in facts[corpus])
        table.add_row(corpus, *spread, f"{sum(lengths) / 3600:.2f} h", shown, str(n_stereo))
    return table


def _checks(found: Findings) -> Table:
    table = _table("Checks", "finding", "files")
    counts = Counter(_check_of(item.reason) for item in found.faults)
    for check, title in _CHECKS.items():
        table.add_row(title, str(counts[check]))
    return table


def _check_of(reason: str) -> str:
    return next(check for check in _CHECKS if reason.startswith(check))


def listing(found: Findings, *, list_all: bool) -> Iterator[str]:
    """What is left out, one line each under a line for its kind; the first 20 of a kind unless `list_all`."""
    kinds: defaultdict[str, list[Excluded]] = defaultdict(list)
    for item in sorted(found.left_out, key=lambda item: (item.path, item.reason)):
        kinds[item.reason.partition(":")[0]].append(item)
    for kind, items in sorted(kinds.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        yield f"Left out, {kind}: {len(items)}"
        for item in items if list_all else items[:LISTED]:
            yield f"  {one_line(item.path)}: {one_line(item.reason.partition(':')[2].strip())}"
        if len(items) > LISTED and not list_all:
            yield f"  and {len(items) - LISTED} more; --all lists them"


def one_line(text: str) -> str:
    """The text with line breaks and control characters written as escapes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
