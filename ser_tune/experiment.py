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
from typing import Any, TypeVar

from ser_tune.errors import InputError
from ser_tune.files import append_line, lock, whole_lines

Line = TypeVar("Line")
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
        return _read_lines(self.decisions, json.loads)

    def read_trials(self) -> list[TrialResult]:
        """The finished trials in the order they ended."""
        return _read_lines(self.trials, _parse_trial)


def _read_lines(path: Path, parse: Callable[[bytes], Line]) -> list[Line]:
    """The parsed lines of a file that append_line made; InputError names one that is damaged."""
    parsed = []
    for number, line in enumerate(whole_lines(path) if path.exists() else [], start=1):
        try:
            parsed.append(parse(line))
        except (ValueError, TypeError) as error:
            raise InputError(f"line {number} of {path} is damaged ({error}); delete that line and run again") from error
    return parsed


def _nullable(value: Any) -> Any:
    """Numbers of a diverged trial that are not finite become null: JSON has no word for them."""
    if isinstance(value, list):
        return [_nullable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parse_trial(line: bytes) -> TrialResult:
    values = json.loads(line)
    known = {item.name for item in dataclasses.fields(TrialResult)}
    values = {key: value for key, value in values.items() if key in known}
    for key, value in values.items():
        if isinstance(value, list):
            values[key] = [math.nan if item is None else item for item in value]
    return TrialResult(**values)


def read_json(path: Path) -> Any:
    """The JSON value in `path`; InputError if it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run the search first") from error
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}); put a copy of it back, or choose another --experiment"
        ) from error


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
