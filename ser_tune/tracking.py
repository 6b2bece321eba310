"""What TensorBoard is shown: a run per trial, a candidate's folds averaged in HPARAMS, the final network.

Epochs come in as they are trained, TrialResults as trials finish; event files go out. trials.jsonl is the
truth: `sync` makes the logs equal to it. Only trials that run hold an open file.
"""

import re
import shutil
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from ser_tune.candidates import Candidate, make_candidate
from ser_tune.events import (
    PATTERN,
    Points,
    add_records,
    describe_experiment,
    is_described,
    is_ended,
    open_anew,
    read_run,
    session,
    to_points,
)
from ser_tune.experiment import TrialKey, TrialResult
from ser_tune.figures import confusion_figure, to_pixels
from ser_tune.metrics import scores

TAGS = {
    "train_loss": "loss/train",
    "train_accuracy": "accuracy/train",
    "val_loss": "loss/validation",
    "val_accuracy": "accuracy/validation",
    "val_uar": "uar/validation",
    "val_macro_f1": "macro_f1/validation",
}
METRICS = {
    "accuracy/validation": "accuracy, last epoch",
    "uar/validation": "UAR, last epoch",
    "macro_f1/validation": "macro F1, last epoch",
    "best/accuracy": "accuracy, each fold's best epoch",
    "best/uar": "UAR, each fold's best epoch",
    "best/macro_f1": "macro F1, each fold's best epoch",
}
LONGEST_NAME = 200  # bytes of a folder's name; file systems take 255


class Tracker:
    """Writes the event files below `folder`, the experiment's tensorboard/."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._writers: dict[TrialKey, SummaryWriter] = {}
        self._recorded: dict[TrialKey, set[tuple[str, int]]] = {}
        self._values: dict[str, set[Any]] = {}  # that hyperparameters take

    def start_trial(self, candidate: str, fold: int, repeat: int, hyperparameters: Mapping[str, Any]) -> None:
        """Open the trial's run anew; what an earlier attempt left there goes."""
        key = (candidate, fold, repeat)
        self._abandon(key)
        self._describe([hyperparameters])
        self._writers[key] = open_anew(self.folder / run_name(hyperparameters, fold, repeat))
        self._recorded[key] = set()

    def record_epoch(self, candidate: str, fold: int, repeat: int, epoch: int, values: Mapping[str, float]) -> None:
        """Record one epoch (from 1) of a started trial; `values` by tag, or by the name of a TrialResult's curve."""
        key = (candidate, fold, repeat)
        for name, value in values.items():
            tag = TAGS.get(name, name)
            self._writers[key].add_scalar(tag, value, epoch)
            self._recorded[key].add((tag, epoch))

    def finish_trial(self, result: TrialResult) -> None:
        """Close the trial's run with the epochs not recorded yet and its HPARAMS session.

        Afterwards the run holds the result's very curves, whatever was recorded before.
        """
        key = (result.candidate, result.fold, result.repeat)
        if key in self._writers:
            _write(self._writers.pop(key), result, recorded=self._recorded.pop(key))
        self._mend(result)

    def stop_trial(self, candidate: str, fold: int, repeat: int) -> None:
        """Remove the run of a trial that was stopped before its end, as its candidate was dropped, or that failed."""
        key = (candidate, fold, repeat)
        if key in self._writers:
            run = Path(self._writers[key].log_dir)
            self._abandon(key)
            _remove(run)

    def sync(self, results: Sequence[TrialResult], candidates: Sequence[Candidate] = ()) -> None:
        """Make the runs equal to the finished trials: remove those of others, write what is missing.

        HPARAMS has the columns of `candidates` too, of which no trial may have finished. A trial that is there twice
        counts once, the first. A run that is right already is not touched.
        """
        finished = {self._run(result): result for result in reversed(results)}
        running = {Path(writer.log_dir) for writer in self._writers.values()}
        for run in sorted(self.folder.glob("*/fold-*")):
            if run not in finished and run not in running:
                _remove(run)
        self._describe([candidate.hyperparameters for candidate in candidates])
        self._describe([result.hyperparameters for result in results])
        for result in reversed(finished.values()):
            self._mend(result)

    def record_final(
        self,
        network: torch.nn.Module,
        example: torch.Tensor,
        confusion: Sequence[Sequence[int]],
        emotions: Sequence[str],
        curves: Mapping[str, Sequence[float]],
    ) -> None:
        """Write the run `final`: the refit's curves, the graph, the confusion matrix, the test scores as text.

        `example` is a batch that the network takes; `confusion` [emotions, emotions] has the truth in its
        rows. Nothing is written where `final` holds these curves and scores already.
        """
        measured = {
            name: curve for name, curve in curves.items() if np.isfinite(curve).any()
        }  # a refit validates nothing
        expected = to_points({TAGS.get(name, name): curve for name, curve in measured.items()})
        text = _score_text(np.asarray(confusion), emotions)
        final = read_run(self.folder / "final")
        if final.points == expected and text in final.texts:
            return
        with open_anew(self.folder / "final") as writer:
            _add_points(writer, expected, n_epochs=1, seconds=0.0, end_s=time.time())
            writer.add_image("test/confusion", to_pixels(confusion_figure(confusion, emotions)), dataformats="HWC")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tracing, and of the network's check of its input's shape
                writer.add_graph(network.eval(), example)
            writer.add_text("test/scores", text)

    def close(self) -> None:
        """Close the runs of trials that did not finish; `sync` removes them when the search goes on."""
        for key in list(self._writers):
            self._abandon(key)

    def _abandon(self, key: TrialKey) -> None:
        if key in self._writers:
            self._writers.pop(key).close()
            self._recorded.pop(key)

    def _run(self, result: TrialResult) -> Path:
        return self.folder / run_name(result.hyperparameters, result.fold, result.repeat)

    def _mend(self, result: TrialResult) -> None:
        """Write the run of a finished trial from its curves, unless it holds them already."""
        self._describe([result.hyperparameters])
        expected = _expected(result)
        logged = read_run(self._run(result))
        tags = {tag for tag, _ in expected}
        if is_ended(logged) and {point: v for point, v in logged.points.items() if point[0] in tags} == expected:
            return
        _write(open_anew(self._run(result)), result, recorded=set())

    def _describe(self, settings: Iterable[Mapping[str, Any]]) -> None:
        """Name the columns of HPARAMS in the top-level run, written again only when a value is new."""
        known = sum(map(len, self._values.values()))
        for hyperparameters in settings:
            for name, value in hyperparameters.items():
                self._values.setdefault(name, set()).add(value)
        if sum(map(len, self._values.values())) == known:
            return
        experiment = describe_experiment(self._values, METRICS)
        if is_described(read_run(self.folder), experiment):
            return
        for old in self.folder.glob(PATTERN):
            old.unlink()
        with SummaryWriter(str(self.folder)) as writer:
            add_records(writer, [experiment])


def run_name(hyperparameters: Mapping[str, Any], fold: int, repeat: int = 0) -> str:
    """A trial's run as TensorBoard lists it: `lr=0.001/fold-0`; values in full, so that no two meet."""
    name = re.sub("[^A-Za-z0-9_.,=+-]", "_", ",".join(f"{name}={value}" for name, value in hyperparameters.items()))
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}...{make_candidate(dict(hyperparameters)).id}"
    again = f"-repeat-{repeat}" if repeat else ""
    return f"{name}/fold-{fold}{again}"


def _remove(run: Path) -> None:
    """Remove the run, and its candidate's folder if it was the last one there."""
    shutil.rmtree(run)
    if not any(run.parent.iterdir()):
        run.parent.rmdir()


def _expected(result: TrialResult) -> Points:
    """What the run of a finished trial holds: its curves, and the best value of each metric at its epoch.

    The fold's own best is optimistic, and HPARAMS calls it by its name.
    """
    points = to_points({tag: getattr(result, name) for name, tag in TAGS.items()})
    for metric in ("accuracy", "uar", "macro_f1"):
        curve = np.array(result.curve(metric))
        if np.isfinite(curve).any():
            points[f"best/{metric}", int(np.nanargmax(curve)) + 1] = float(np.float32(np.nanmax(curve)))
    return points


def _write(writer: SummaryWriter, result: TrialResult, recorded: set[tuple[str, int]]) -> None:
    """Complete and close the run: what was not recorded yet, and the session."""
    end_s = time.time()
    missing = {point: value for point, value in _expected(result).items() if point not in recorded}
    _add_points(writer, missing, result.epochs, result.seconds, end_s)
    add_records(writer, session(result.hyperparameters, result.candidate, end_s - result.seconds, end_s))
    writer.close()


def _add_points(writer: SummaryWriter, points: Points, n_epochs: int, seconds: float, end_s: float) -> None:
    """Write points as if the epochs had been spread evenly over the `seconds` before `end_s` [s since 1970]."""
    for (tag, step), value in points.items():
        moment = end_s - seconds * (1 - step / n_epochs)
        writer.add_scalar(tag, np.nan if value is None else value, step, walltime=moment)


def _score_text(confusion: Any, emotions: Sequence[str]) -> str:
    """The test scores as Markdown: the three scores, then hits and clips per emotion."""
    test = scores(confusion)
    head = f"accuracy {test.accuracy:.1%}, UAR {test.uar:.1%}, macro F1 {test.macro_f1:.1%}, {confusion.sum()} clips"
    rows = [
        f"| {name} | {row[index]} | {row.sum()} |"
        for index, (name, row) in enumerate(zip(emotions, confusion, strict=True))
    ]
    return "\n".join([head, "", "| emotion | recognised | clips |", "|---|---|---|", *rows])
