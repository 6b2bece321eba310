"""The live board of candidates x folds on a terminal, best first; plain lines where there is none.

Told of trials as searcher.Observer; prints to the given console, never to standard output.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ser_tune.candidates import Candidate
from ser_tune.config import Metric
from ser_tune.experiment import TrialKey, TrialResult
from ser_tune.metrics import METRIC_NAMES
from ser_tune.schedule import Schedule
from ser_tune.training import EpochScores
from ser_tune.trial import Trial

MOST_FOLDS = 8  # columns of single folds; more are told as a count


class Board:
    """Scores of `metric` on validation folds; a context manager while the trials of `schedule` run.

    `n_candidates` will be proposed in all.
    """

    def __init__(self, console: Console, schedule: Schedule, n_candidates: int, epochs: int, metric: Metric):
        self.console = console
        self.schedule = schedule
        self.n_candidates = n_candidates
        self.epochs = epochs
        self.metric: Metric = metric
        self.cells: dict[TrialKey, Text] = {}
        self.final: dict[TrialKey, float] = {}
        self.epochs_seen: dict[TrialKey, int] = {}
        self.began = time.monotonic()
        self._fresh_epochs = 0
        self._note = ""
        self._told: set[str] = set()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=False)

    def show_finished(self, results: Mapping[TrialKey, TrialResult]) -> None:
        """Fill in the trials of an earlier run."""
        for key, result in results.items():
            self._finish(key, result)
        self._told = set(self.schedule.dropped)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def note(self, text: str) -> None:
        """Show what goes on beside the trials; an empty text: it is done."""
        if self._note and not text:
            self._say(self._note)
        self._note = text

    def started(self, trial: Trial) -> None:
        """A trial runs, for the first time or again."""
        self.epochs_seen[trial.key] = 0
        self.cells[trial.key] = Text(f"0/{self.epochs}", style="cyan")

    def epoch(self, trial: Trial, scores: EpochScores) -> None:
        """An epoch of a trial ended."""
        self._fresh_epochs += 1
        self.epochs_seen[trial.key] = scores.epoch
        value = getattr(scores, f"val_{self.metric}")
        self.cells[trial.key] = Text(f"{scores.epoch}/{self.epochs} {value:.3f}", style="cyan")

    def finished(self, trial: Trial, result: TrialResult) -> None:
        """A trial is done and on the disk, and its candidate judged."""
        self._finish(trial.key, result)
        best = max(result.curve(self.metric))
        self._say(
            f"{_name(trial)}: {METRIC_NAMES[self.metric]} {self.final[trial.key]:.3f} "
            f"after {result.epochs} epochs (best {best:.3f}), {result.seconds:.0f} s"
        )
        labels = {candidate.id: candidate.label for candidate in self.schedule.candidates}
        for name in self.schedule.dropped.keys() - self._told:
            self._told.add(name)
            self._say(f"{labels.get(name, name)} dropped: {self.schedule.dropped[name].reason}")

    def stopped(self, trial: Trial) -> None:
        """A running trial was ended: its candidate is dropped."""
        self.cells[trial.key] = Text("stopped", style="dim")
        self._say(f"{_name(trial)}: stopped, its candidate is dropped")

    def retried(self, trial: Trial, reason: str) -> None:
        """A trial ended before its time, and starts again."""
        self._say(f"{_name(trial)}: starts again: {reason}")

    def failed(self, trial: Trial, reason: str) -> None:
        """A trial failed for good."""
        self.cells[trial.key] = Text("failed", style="bold red")
        self._say(f"{_name(trial)}: failed: {reason}")
        if self.console.is_terminal:
            self.console.print(f"{_name(trial)} failed: {reason}", style="red", markup=False)

    def _finish(self, key: TrialKey, result: TrialResult) -> None:
        self.epochs_seen[key] = self.epochs
        self.final[key] = result.curve(self.metric)[-1]
        self.cells[key] = Text(f"{self.final[key]:.3f}", style="green")

    def _say(self, line: str) -> None:
        if not self.console.is_terminal:
            self.console.print(f"[{self._progress()}] {line}; {self._time_left()}", markup=False, soft_wrap=True)

    def _progress(self) -> str:
        return f"{len(self.final)}/{self.n_candidates * len(self.schedule.blocks) - self._n_skipped()}"

    def _n_skipped(self) -> int:
        """Trials that need not run, because their candidate is dropped or given up."""
        closed = [one for one in self.schedule.candidates if not self.schedule.is_open(one)]
        return sum(len(self.schedule.blocks) - len(self.schedule.curves.get(one.id, ())) for one in closed)

    def _time_left(self) -> str:
        if not self._fresh_epochs:
            running = bool(self.schedule.running - self.final.keys()) and bool(self.cells.keys() - self.final.keys())
            return "time left not known yet" if running else "starting the processes that run trials"
        open_epochs = [self.epochs_seen.get(key, 0) for key in self.schedule.running]
        trials_left = self.n_candidates * len(self.schedule.blocks) - self._n_skipped() - len(self.final)
        left = max(0, trials_left) * self.epochs - sum(open_epochs)
        seconds = (time.monotonic() - self.began) / self._fresh_epochs * max(0, left)
        most = "at most " if self.schedule.level is not None else "about "
        return f"{most}{seconds:.0f} s left" if seconds < 100 else f"{most}{seconds / 60:.0f} min left"

    def _mean(self, candidate: Candidate) -> float:
        """Of the folds done, at the epoch where their mean is highest; -inf before any is."""
        curves = self.schedule.curves.get(candidate.id)
        return float(np.mean(list(curves.values()), axis=0).max()) if curves else -math.inf

    def _ranked(self) -> list[Candidate]:
        """The dropped last, else those that are ahead first."""
        dropped = self.schedule.dropped
        return sorted(self.schedule.candidates, key=lambda one: (one.id in dropped, -self._mean(one)))

    def _table(self) -> Any:
        table = Table(title=f"validation {METRIC_NAMES[self.metric]}, candidates x folds", title_justify="left")
        table.add_column("candidate", no_wrap=True)
        table.add_column("mean", justify="right", no_wrap=True)
        blocks = self.schedule.blocks
        shown = blocks[:MOST_FOLDS] if len(blocks) <= MOST_FOLDS else []
        for fold, repeat in shown:
            table.add_column(f"fold {fold}" + (f" ({repeat + 1})" if repeat else ""), justify="right", no_wrap=True)
        table.add_column("" if shown else "folds", no_wrap=True)
        ranked = self._ranked()
        room = max(5, self.console.height - 9)
        for candidate in ranked[:room]:
            mean = self._mean(candidate)
            style = "bold" if self.schedule.is_complete(candidate) else "dim"
            cells = [self.cells.get((candidate.id, *block), Text("·", style="dim")) for block in shown]
            number = f"{mean:.3f}" if math.isfinite(mean) else ""
            table.add_row(candidate.label, Text(number, style=style), *cells, self._state(candidate, not shown))
        hidden = [Text(f"and {len(ranked) - room} more candidates", style="dim")] if len(ranked) > room else []
        status = f"{self._progress().replace('/', ' of ')} trials done, {self._time_left()}"
        legend = "cyan: epoch and score of a running trial; green: score after the last epoch; mean: best epoch, bold "
        note = [Text(self._note, style="yellow")] if self._note else []
        return Group(table, *hidden, Text(status), *note, Text(legend + "when all folds are done", style="dim"))

    def _state(self, candidate: Candidate, with_count: bool) -> Text:
        done = len(self.schedule.curves.get(candidate.id, ()))
        count = f"{done} of {len(self.schedule.blocks)} " if with_count else ""
        if candidate.id in self.schedule.dropped:
            drop = self.schedule.dropped[candidate.id]
            return Text(f"{count}dropped after {_folds(drop.folds_done)}: {100 * drop.difference:+.1f}", style="dim")
        return Text(count)


def _name(trial: Trial) -> str:
    again = f" repeat {trial.repeat}" if trial.repeat else ""
    return f"{trial.candidate.label} fold {trial.fold}{again}"


def _folds(count: int) -> str:
    return "1 fold" if count == 1 else f"{count} folds"
