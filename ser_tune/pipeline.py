"""The steps of a search in their order: data, trials, choice, refit and test, bundle, report.

Each step leaves whole files behind, so the same command goes on after a kill and runs only what is
missing; on a finished experiment it changes nothing.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import ray
from rich.console import Console

from ser_tune.candidates import Candidate, make_candidate
from ser_tune.certainty import selection_record, table_row
from ser_tune.cluster import connect
from ser_tune.config import SearchConfig, require, resolve, to_json
from ser_tune.experiment import ExperimentFolder, read_json
from ser_tune.files import json_text, write_atomically, write_json, write_text
from ser_tune.finish import final_test, outcome
from ser_tune.fold_search import Run, make_schedule, read_drops, read_failures, run_missing_trials
from ser_tune.model import build_network, count_parameters, summarise
from ser_tune.precision import choose_precision
from ser_tune.preparation import check_identity, describe, identity, prepare, settings_identity
from ser_tune.progress import progress_bar
from ser_tune.report import write_report
from ser_tune.schedule import Schedule
from ser_tune.searcher import MANY, TrialResources, choose_resources
from ser_tune.selection import CandidateSummary, choose, summarise_candidates


def search(config: SearchConfig, console: Console) -> None:
    """Run what is missing of the experiment; progress goes to `console`, the outcome to standard output."""
    folder = ExperimentFolder(config.experiments_dir / config.experiment)
    with folder.claimed(), ray_when_needed(config) as start_ray:
        check_identity(folder, settings_identity(config))
        with progress_bar(console, "extracting features") as progress:
            preparation = prepare(config, start_ray, progress)
        check_identity(folder, identity(config, preparation.data_fingerprint))
        precision, why = _precision(config, folder, start_ray)
        run = Run(config, folder, preparation, precision, start_ray, console)
        for line in [*preparation.introduction(), f"precision: {precision} ({why})"]:
            # A terminal wraps at words; a file gets whole lines.
            console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)
        if not folder.config.exists():
            _write_inputs(run)
        schedule = make_schedule(run)
        n_before = len(run.results())
        run_missing_trials(run, schedule)
        _choose(run, schedule)
        final_test(config, folder, preparation, precision, start_ray, console)
        if not folder.report.exists():
            write_report(folder)
        elif len(run.results()) == n_before:
            console.print(f"{folder.root} is finished: nothing had to be run.", markup=False, soft_wrap=True)
        print(outcome(folder))


@contextlib.contextmanager
def ray_when_needed(config: SearchConfig) -> Iterator[Callable[[], None]]:
    """Yield a function that connects to Ray when first called; disconnect at the end if it was."""
    with contextlib.ExitStack() as stack:

        def start() -> None:
            if not ray.is_initialized():
                stack.enter_context(connect(config.compute, config.resume_hint))

        yield start


def _precision(config: SearchConfig, folder: ExperimentFolder, start_ray: Callable[[], None]) -> tuple[str, str]:
    """The precision of the experiment and where it is from; InputError where another one is asked for than it has."""
    wanted = config.training.precision
    if folder.config.exists():
        held = read_json(folder.config)["precision"]
        require(wanted in ("auto", held), "training.precision", wanted, f"{held}, which {folder.root} was begun with")
        return held, "as the experiment was begun"

    def resources() -> TrialResources:
        start_ray()
        return choose_resources(config.compute, MANY)

    return choose_precision(config.compute, config.base, config.data.emotions, resources)


def _write_inputs(run: Run) -> None:
    """Write manifest.parquet, excluded.parquet and, last, config.json: what it names is there."""
    config, folder = run.config, run.folder
    write_atomically(folder.manifest, lambda path: run.preparation.clips.to_parquet(path, index=False))
    write_atomically(folder.excluded, lambda path: run.preparation.excluded.to_parquet(path, index=False))
    write_json(folder.config, describe(config, run.preparation, run.precision, _layers(config, {})))


def _layers(config: SearchConfig, hyperparameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The network of a candidate, layer by layer, as config.json and selection.json tell it."""
    setting = resolve(config.base, hyperparameters)
    network = build_network(setting.model, *setting.features.shape, len(config.data.emotions))
    return [asdict(layer) for layer in summarise(network)]


def _choose(run: Run, schedule: Schedule) -> None:
    """Write candidates.csv and selection.json, if they change, and a config.json that names what was compared."""
    config, folder = run.config, run.folder
    metric, rule, n_folds = config.selection.metric, config.selection.rule, config.splits.folds
    summaries = _summaries(run, schedule)
    for summary in summaries:
        if summary.status == "incomplete":
            text = f"{summary.candidate.label} is incomplete and cannot be chosen: {summary.reason}"
            run.console.print(text, style="yellow", markup=False, soft_wrap=not run.console.is_terminal)
    winner = choose(summaries, rule, _n_parameters(config, summaries) if rule == "one-se" else None)
    layers = _layers(config, winner.candidate.hyperparameters)
    choice = selection_record(winner, summaries, metric, rule, n_folds) | {"network": layers}
    recorded, now = read_json(folder.config)["config"], to_json(config)
    if any(recorded[part] != now[part] for part in ("space", "search", "selection")):
        folder.outdate_report()
        _write_inputs(run)
    best = choose(summaries)
    table = pd.DataFrame([table_row(summary, winner, best, n_folds) for summary in summaries]).to_csv(index=False)
    _update(folder, folder.candidates, table)
    _update(folder, folder.selection, json_text(choice))


def _summaries(run: Run, schedule: Schedule) -> list[CandidateSummary]:
    """Of all candidates that were ever proposed and ran, and of those of this search, in the order proposed."""
    config, decisions, results = run.config, run.folder.read_decisions(), run.results()
    majority = run.preparation.clips["emotion"].value_counts(normalize=True).max()
    proposed = [make_candidate(line["hyperparameters"]) for line in decisions if line["decision"] == "proposed"]
    known = {candidate.id: candidate for candidate in proposed}
    counted = {candidate.id for candidate in schedule.candidates} | {key[0] for key in results}
    candidates = [candidate for name, candidate in known.items() if name in counted]
    reasons = {
        **{name: ("dropped", drop.reason) for name, drop in read_drops(decisions, config.selection.metric).items()},
        **{key[0]: ("incomplete", reason) for key, reason in read_failures(decisions).items() if key not in results},
    }
    return summarise_candidates(candidates, results, run.blocks, config.selection.metric, majority, reasons)


def _n_parameters(config: SearchConfig, summaries: Sequence[CandidateSummary]) -> dict[str, int]:
    """The size of every complete candidate's network."""

    def size(candidate: Candidate) -> int:
        setting = resolve(config.base, candidate.hyperparameters)
        return count_parameters(setting.model, *setting.features.shape, len(config.data.emotions))

    return {summary.candidate.id: size(summary.candidate) for summary in summaries if summary.status == "complete"}


def _update(folder: ExperimentFolder, path: Path, text: str) -> None:
    if not path.exists() or path.read_bytes() != text.encode():
        folder.outdate_report()
        write_text(path, text)
