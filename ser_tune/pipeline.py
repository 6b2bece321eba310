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
from ser_tune.config import ComputeConfig, SearchConfig, to_json
from ser_tune.experiment import ExperimentFolder, TrialResult, read_json
from ser_tune.files import json_text, write_atomically, write_json, write_text
from ser_tune.finish import final_test, outcome
from ser_tune.model import build_network, summarise
from ser_tune.preparation import Preparation, check_identity, describe, identity, prepare, settings_identity
from ser_tune.progress import progress_bar
from ser_tune.report import write_report
from ser_tune.searcher import choose_resources, run_trials
from ser_tune.selection import choose, index_results, selection_record, summarise_candidates
from ser_tune.testing import refuse_another_choice
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
    """The candidates of the experiment so far in their order, then those that the space adds."""
    tried = [make_candidate(result.hyperparameters) for result in folder.read_trials()]
    known = {candidate.id: candidate for candidate in [*list_candidates(config.space), *tried]}
    listed = [name for name in folder.listed_candidates() if name in known]
    return [known[name] for name in dict.fromkeys([*listed, *known])]


def _run_missing_trials(run: Run) -> None:
    """Run the trials of the space that are not finished."""
    config, folder = run.config, run.folder
    space = list_candidates(config.space)
    wanted = list_trials(space, config.splits.folds, config.seed)
    results = run.results()
    done = {trial.key: results[trial.key] for trial in wanted if trial.key in results}
    pending = [trial for trial in wanted if trial.key not in done]
    if not folder.config.exists():
        _write_inputs(run)
    tracker = Tracker(folder.tensorboard)
    tracker.sync(list(results.values()))
    if not pending:
        return
    if done:
        run.console.print(f"going on: {len(done)} of {len(wanted)} trials are finished already")
    run.start_ray()
    resources = choose_resources(config.compute, len(wanted))
    data = run.preparation.load(config, "train")
    settings = TrialSettings(config.model, config.training, run.preparation.data_fingerprint, resources.cpus)
    board = Board(run.console, space, config.splits.folds, config.training.epochs, config.selection.metric)
    board.show_finished(done)
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
    """Write candidates.csv and selection.json, if they change, and a config.json that names what was compared.

    InputError, with everything left as it was, where the test split was opened for another choice.
    """
    majority = run.preparation.clips["emotion"].value_counts(normalize=True).max()
    n_folds, metric = run.config.splits.folds, run.config.selection.metric
    summaries = summarise_candidates(run.candidates, run.results(), n_folds, metric, majority)
    for summary in summaries:
        if summary.status != "complete":
            text = f"{summary.candidate.label} has a finite score on {summary.folds_done} of {n_folds} folds only and "
            text += "cannot be chosen; a search with it in --space runs what is missing"
            run.console.print(text, style="yellow", soft_wrap=not run.console.is_terminal)
    choice = selection_record(choose(summaries), summaries, metric)
    refuse_another_choice(run.folder, choice, reopen_test=run.config.reopen_test)
    recorded, now = read_json(run.folder.config)["config"], to_json(run.config)
    if any(recorded[part] != now[part] for part in ("space", "selection")):
        run.folder.outdate_report()
        _write_inputs(run)
    table = pd.DataFrame([summary.row() for summary in summaries]).to_csv(index=False)
    _update(run.folder, run.folder.candidates, table)
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
