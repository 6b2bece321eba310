"""The live board of candidates x folds on a terminal; plain lines where there is none.

Told of trials as searcher.Observer; prints to the given console, never to standard output.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ser_tune.candidates import Candidate
from ser_tune.config import Metric
from ser_tune.experiment import TrialResult
from ser_tune.training import EpochScores
from ser_tune.trial import Trial

METRIC_NAMES: Mapping[Metric, str] = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro F1"}


class Board:
    """Scores of `metric` on validation folds; a context manager while trials run."""

    def __init__(self, console: Console, candidates: Sequence[Candidate], n_folds: int, epochs: int, metric: Metric):
        self.console = console
        self.candidates = candidates
        self.n_folds = n_folds
        self.epochs = epochs
        self.metric: Metric = metric
        self.cells: dict[tuple[str, int], Text] = {}
        self.final: dict[tuple[str, int], float] = {}
        self.epochs_seen: dict[tuple[str, int], int] = {}
        self.n_failed = 0
        self.began = time.monotonic()
        self._reused_epochs = 0
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=False)

    def show_finished(self, results: Mapping[tuple[str, int], TrialResult]) -> None:
        """Fill in the trials of an earlier run."""
        for key, result in results.items():
            self._finish(key, result)
        self._reused_epochs = sum(self.epochs_seen.values())

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def started(self, trial: Trial) -> None:
        """A trial runs, for the first time or again."""
        self.epochs_seen[trial.key] = 0
        self.cells[trial.key] = Text(f"0/{self.epochs}", style="cyan")

    def epoch(self, trial: Trial, scores: EpochScores) -> None:
        """An epoch of a trial ended."""
        self.epochs_seen[trial.key] = scores.epoch
        value = getattr(scores, f"val_{self.metric}")
        self.cells[trial.key] = Text(f"{scores.epoch}/{self.epochs} {value:.3f}", style="cyan")

    def finished(self, trial: Trial, result: TrialResult) -> None:
        """A trial is done and on the disk."""
        self._finish(trial.key, result)
        best = max(result.curve(self.metric))
        self._say(
            f"{trial.candidate.label} fold {trial.fold}: {METRIC_NAMES[self.metric]} {self.final[trial.key]:.3f} "
            f"after {result.epochs} epochs (best {best:.3f}), {result.seconds:.0f} s"
        )

    def failed(self, trial: Trial, reason: str) -> None:
        """A trial failed for good."""
        self.n_failed += 1
        self.epochs_seen[trial.key] = self.epochs
        self.cells[trial.key] = Text("failed", style="bold red")
        self._say(f"{trial.candidate.label} fold {trial.fold}: failed: {reason}")
        if self.console.is_terminal:
            self.console.print(f"{trial.candidate.label} fold {trial.fold} failed: {reason}", style="red", markup=False)

    def _finish(self, key: tuple[str, int], result: TrialResult) -> None:
        self.epochs_seen[key] = self.epochs
        self.final[key] = result.curve(self.metric)[-1]
        self.cells[key] = Text(f"{self.final[key]:.3f}", style="green")

    def _say(self, line: str) -> None:
        if not self.console.is_terminal:
            done = len(self.final) + self.n_failed
            total = len(self.candidates) * self.n_folds
            self.console.print(f"[{done}/{total}] {line}; {self._time_left()}", markup=False, soft_wrap=True)

    def _time_left(self) -> str:
        done = sum(self.epochs_seen.values())
        fresh = done - self._reused_epochs
        if fresh <= 0:
            return "time left not known yet" if self._running() else "starting the processes that run trials"
        left = len(self.candidates) * self.n_folds * self.epochs - done
        seconds = (time.monotonic() - self.began) / fresh * left
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"

    def _running(self) -> bool:
        return any(key not in self.final for key in self.cells)

    def _table(self) -> Any:
        table = Table(title=f"validation {METRIC_NAMES[self.metric]}, candidates x folds", title_justify="left")
        table.add_column("candidate", no_wrap=True)
        for fold in range(self.n_folds):
            table.add_column(f"fold {fold}", justify="right", no_wrap=True)
        table.add_column("mean", justify="right", no_wrap=True)
        for candidate in self.candidates:
            keys = [(candidate.id, fold) for fold in range(self.n_folds)]
            cells = [self.cells.get(key, Text("·", style="dim")) for key in keys]
            scores = [self.final[key] for key in keys if key in self.final]
            mean = f"{sum(scores) / len(scores):.3f}" if len(scores) == self.n_folds else ""
            table.add_row(candidate.label, *cells, Text(mean, style="bold"))
        done = f"{len(self.final)} of {len(self.candidates) * self.n_folds} trials done, {self._time_left()}"
        legend = "cyan: epoch and score of a running trial; green: score after the last epoch"
        return Group(table, Text(done), Text(legend, style="dim"))
