"""The folder of one experiment: the only module that knows its file names, and how to write them safely.

Every file is replaced atomically; trials.jsonl and decisions.jsonl are appended to and fsynced. A torn last line
of them, which a kill can leave, is forgiven; any other damage raises InputError.
"""

import dataclasses
import errno
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_origin

from ser_tune.errors import InputError
from ser_tune.files import append_line, lock, whole_lines

Content = TypeVar("Content")
TrialKey = tuple[str, int, int]  # candidate, fold, repeat


@dataclass(frozen=True)
class TrialResult:
    """One finished trial, a candidate on a fold; lists hold one number per epoch."""

    candidate: str
    fold: int
    repeat: int
    seed: int
    hyperparameters: dict[str, Any]
    epochs: int
    train_loss: list[float]
    train_accuracy: list[float]
    val_loss: list[float]
    val_accuracy: list[float]
    val_uar: list[float]
    val_macro_f1: list[float]
    initial_weights_sha256: str
    precision: str
    seconds: float
    node: str
    device: str
    data_fingerprint: str

    @property
    def key(self) -> TrialKey:
        return self.candidate, self.fold, self.repeat

    def curve(self, metric: str) -> list[float]:
        """The validation curve of `metric`: accuracy, uar or macro_f1, one number per epoch."""
        curve: list[float] = getattr(self, f"val_{metric}")
        return curve


@dataclass(frozen=True)
class ExperimentFolder:
    """Paths of one experiment's files; makes no folder until asked."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.parquet"

    @property
    def excluded(self) -> Path:
        return self.root / "excluded.parquet"

    @property
    def trials(self) -> Path:
        return self.root / "trials.jsonl"

    @property
    def decisions(self) -> Path:
        return self.root / "decisions.jsonl"

    @property
    def candidates(self) -> Path:
        return self.root / "candidates.csv"

    @property
    def selection(self) -> Path:
        return self.root / "selection.json"

    @property
    def test(self) -> Path:
        return self.root / "test.json"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the experiment for this process; InputError if another search runs in it."""
        busy = f"another search is running in {self.root}; wait for it or choose another --experiment"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / ".lock").open("a").close()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                f"{self.root} cannot be written ({error.strerror}); choose another --experiments-dir"
            ) from error
        with lock(self.root / ".lock", busy=busy):
            yield

    def outdate_report(self) -> None:
        """Remove the report: what it shows is about to change, and a search that goes on writes it anew."""
        self.report.unlink(missing_ok=True)

    def append_trial(self, result: TrialResult) -> None:
        """Append one line to trials.jsonl; it is on the disk when this returns."""
        values = {key: _nullable(value) for key, value in dataclasses.asdict(result).items()}
        append_line(self.trials, json.dumps(values, allow_nan=False))

    def append_decision(self, decision: Mapping[str, Any]) -> None:
        """Append one line to decisions.jsonl; it is on the disk when this returns."""
        append_line(self.decisions, json.dumps(decision, allow_nan=False))

    def read_decisions(self) -> list[dict[str, Any]]:
        """What the search decided, in order: candidates proposed and dropped, trials given up."""
        return list(_read_lines(self.decisions))

    def read_trials(self) -> list[TrialResult]:
        """The finished trials in the order they ended."""
        return [_parse_trial(line) for line in _read_lines(self.trials)]


class _Record(dict[str, Any]):
    """An object of JSON that a search wrote: what it lacks is damage, told with its place and what to do."""

    source = remedy = ""

    def __missing__(self, key: str) -> NoReturn:
        self.refuse(f"{key!r} is missing")

    def refuse(self, reason: str) -> NoReturn:
        raise _damage(self.source, reason, self.remedy)


def _damage(source: str, reason: object, remedy: str) -> InputError:
    return InputError(f"{source} is damaged ({reason}); {remedy}")


def _parse(text: bytes, source: str, remedy: str) -> _Record:
    """The JSON object in `text`; InputError if there is none."""

    def make_record(values: dict[str, Any]) -> _Record:
        record = _Record(values)
        record.source, record.remedy = source, remedy
        return record

    try:
        value = json.loads(text, object_hook=make_record)
    except (ValueError, RecursionError) as error:
        raise _damage(source, error, remedy) from error
    if not isinstance(value, _Record):
        raise _damage(source, "no JSON object", remedy)
    return value


def _read_lines(path: Path) -> Iterator[_Record]:
    """The objects in a file that append_line made; InputError names a line that is damaged."""
    for number, line in enumerate(_read(path, whole_lines) if path.exists() else [], start=1):
        yield _parse(line, f"line {number} of {path}", "delete that line and run again")


def _read(path: Path, read: Callable[[Path], Content]) -> Content:
    try:
        return read(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run the search first") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); put a readable copy of it there, or choose another --experiment"
        ) from error


def _nullable(value: Any) -> Any:
    """Numbers of a diverged trial that are not finite become null: JSON has no word for them."""
    if isinstance(value, list):
        return [_nullable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parse_trial(line: _Record) -> TrialResult:
    values: dict[str, Any] = {}
    for item in dataclasses.fields(TrialResult):
        kind, value = get_origin(item.type) or item.type, line[item.name]
        if isinstance(value, list):
            value = [math.nan if number is None else number for number in value]
        if not _fits(value, kind):
            line.refuse(f"{item.name} is {value!a:.60}")
        values[item.name] = dict(value) if kind is dict else value
    return TrialResult(**values)


def _fits(value: object, kind: Any) -> bool:
    if kind is list:
        return isinstance(value, list) and all(_fits(number, float) for number in value)
    return isinstance(value, (int, float) if kind is float else kind)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; InputError if it is absent or damaged, also when a key is asked for that it lacks."""
    remedy = "put a copy of it back, or choose another --experiment"
    return _parse(_read(path, Path.read_bytes), str(path), remedy)


def identity_differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Where two identities differ, as `splits.folds: 4 there, 5 now`."""
    differences = []
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            differences += identity_differences(before, now, f"{prefix}{key}.")
        elif before != now:
            differences.append(f"{prefix}{key}: {before} there, {now} now")
    return differences
