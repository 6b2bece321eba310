"""The steps of a search in their order: data, trials, choice, refit and test, bundle, report.

Each step leaves whole files behind, so the same command goes on after a kill and runs only what is
missing; on a finished experiment it changes nothing.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import ray
from rich.console import Console

from ser_tune.board import Board
from ser_tune.candidates import Candidate, list_candidates, make_candidate, trial_seed
from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig, SearchConfig
from ser_tune.experiment import ExperimentFolder, TrialResult
from ser_tune.files import json_text, write_atomically, write_json, write_text
from ser_tune.finish import final_test, outcome
from ser_tune.model import build_network, summarise
from ser_tune.preparation import Preparation, check_identity, describe, identity, prepare, settings_identity
from ser_tune.progress import progress_bar
from ser_tune.report import write_report
from ser_tune.searcher import choose_resources, run_trials
from ser_tune.selection import choose, index_results, selection_record, summarise_candidates
from ser_tune.tracking import Tracker
from ser_tune.training import EpochScores
from ser_tune.trial import Trial, TrialSettings, list_trials

Results = Mapping[tuple[str, int], TrialResult]


@dataclass(frozen=True)
class Run:
    """What every step of one search needs."""

    config: SearchConfig
    folder: ExperimentFolder
    preparation: Preparation
    candidates: Sequence[Candidate]
    start_ray: Callable[[], None]
    console: Console

    def results(self) -> Results:
        """The finished trials that belong to this experiment."""
        seeds = {fold: trial_seed(self.config.seed, fold) for fold in range(self.config.splits.folds)}
        trials = self.folder.read_trials()
        return index_results(trials, seeds, self.config.training.epochs, self.preparation.data_fingerprint)


def search(config: SearchConfig, console: Console) -> None:
    """Run what is missing of the experiment; progress goes to `console`, the outcome to standard output."""
    folder = ExperimentFolder(config.experiments_dir / config.experiment)
    with folder.claimed(), ray_when_needed(config.compute) as start_ray:
        check_identity(folder, settings_identity(config))
        with progress_bar(console, "extracting features") as progress:
            preparation = prepare(config, start_ray, progress)
        check_identity(folder, identity(config, preparation.data_fingerprint))
        run = Run(config, folder, preparation, _candidates(config, folder), start_ray, console)
        for line in preparation.introduction():
            # A terminal wraps at words; a file gets whole lines.
            console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)
        _run_missing_trials(run)
        _choose(run)
        final_test(config, folder, preparation, start_ray, console)
        if folder.report.exists():
            console.print(f"{folder.root} is finished: nothing had to be run.", markup=False, soft_wrap=True)
        else:
            write_report(folder)
        print(outcome(folder))


@contextlib.contextmanager
def ray_when_needed(compute: ComputeConfig) -> Iterator[Callable[[], None]]:
    """Yield a function that connects to Ray when first called; disconnect at the end if it was."""
    with contextlib.ExitStack() as stack:

        def start() -> None:
            if not ray.is_initialized():
                stack.enter_context(connect(compute))

        yield start


def _candidates(config: SearchConfig, folder: ExperimentFolder) -> list[Candidate]:
    """The candidates of the space, then those that earlier runs of the experiment tried."""
    earlier = [make_candidate(result.hyperparameters) for result in folder.read_trials()]
    return list({candidate.id: candidate for candidate in [*list_candidates(config.space), *earlier]}.values())


def _run_missing_trials(run: Run) -> None:
    """Run the trials of the space that are not finished."""
    config, folder = run.config, run.folder
    results = run.results()
    wanted = list_trials(list_candidates(config.space), config.splits.folds, config.seed)
    pending = [trial for trial in wanted if trial.key not in results]
    if pending or not folder.config.exists():
        folder.outdate_report()
        _write_inputs(run)
    tracker = Tracker(folder.tensorboard)
    tracker.sync(list(results.values()))
    if not pending:
        return
    if results:
        run.console.print(f"going on: {len(wanted) - len(pending)} of {len(wanted)} trials are finished already")
    run.start_ray()
    data = run.preparation.load(config, "train")
    resources = choose_resources(config.compute, len(wanted))
    settings = TrialSettings(config.model, config.training, run.preparation.data_fingerprint, resources.cpus)
    board = Board(run.console, run.candidates, config.splits.folds, config.training.epochs, config.selection.metric)
    board.show_finished(results)
    try:
        with board:
            run_trials(pending, data, settings, resources, [_Recorder(folder), _TensorBoard(tracker), board])
    finally:
        tracker.close()


def _write_inputs(run: Run) -> None:
    """Write manifest.parquet, excluded.parquet and, last, config.json: what it names is there."""
    config, folder = run.config, run.folder
    write_atomically(folder.manifest, lambda path: run.preparation.clips.to_parquet(path, index=False))
    write_atomically(folder.excluded, lambda path: run.preparation.excluded.to_parquet(path, index=False))
    features = config.features
    network = build_network(config.model, features.n_coefficients, features.n_frames, len(config.data.emotions))
    write_json(folder.config, describe(config, run.preparation, [asdict(layer) for layer in summarise(network)]))


def _choose(run: Run) -> None:
    """Write candidates.csv and selection.json, if they change."""
    majority = run.preparation.clips["emotion"].value_counts(normalize=True).max()
    n_folds, metric = run.config.splits.folds, run.config.selection.metric
    summaries = summarise_candidates(run.candidates, run.results(), n_folds, metric, majority)
    table = pd.DataFrame([summary.row() for summary in summaries]).to_csv(index=False)
    _update(run.folder, run.folder.candidates, table)
    for summary in summaries:
        if summary.status != "complete":
            text = f"{summary.candidate.label} has a finite score on {summary.folds_done} of {n_folds} folds only and "
            run.console.print(f"{text}cannot be chosen; the same command runs what is missing", style="yellow")
    choice = selection_record(choose(summaries), summaries, metric)
    _update(run.folder, run.folder.selection, json_text(choice))


def _update(folder: ExperimentFolder, path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        folder.outdate_report()
        write_text(path, text)


@dataclass(frozen=True)
class _Recorder:
    """Puts every finished trial on the disk before anything else hears of it."""

    folder: ExperimentFolder

    def started(self, trial: Trial) -> None: ...
    def epoch(self, trial: Trial, scores: EpochScores) -> None: ...
    def failed(self, trial: Trial, reason: str) -> None: ...
    def finished(self, trial: Trial, result: TrialResult) -> None:
        self.folder.append_trial(result)


@dataclass(frozen=True)
class _TensorBoard:
    """Writes what trials report to their TensorBoard logs."""

    tracker: Tracker

    def started(self, trial: Trial) -> None:
        self.tracker.start_trial(trial.candidate.id, trial.fold, trial.repeat, trial.candidate.hyperparameters)

    def epoch(self, trial: Trial, scores: EpochScores) -> None:
        values = {name: value for name, value in asdict(scores).items() if name != "epoch"}
        self.tracker.record_epoch(trial.candidate.id, trial.fold, trial.repeat, scores.epoch, values)

    def finished(self, trial: Trial, result: TrialResult) -> None:
        self.tracker.finish_trial(result)

    def failed(self, trial: Trial, reason: str) -> None: ...
