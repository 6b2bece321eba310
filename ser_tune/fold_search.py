"""Runs what is missing of a search: the schedule's trials on the cluster, each result and decision on the disk.

Whatever was decided before is read from the experiment's folder, so that an interrupted search goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ray
from rich.console import Console

from ser_tune.board import Board
from ser_tune.candidates import Candidate, draw_candidates, list_grid, make_candidate, trial_seed
from ser_tune.config import SearchConfig, resolve
from ser_tune.experiment import ExperimentFolder, TrialKey, TrialResult
from ser_tune.preparation import Preparation
from ser_tune.race import Block, Drop, list_blocks
from ser_tune.schedule import EVERYTHING, Schedule
from ser_tune.searcher import Observer, choose_resources, count_slots, run_trials
from ser_tune.selection import check_fresh_networks, index_results
from ser_tune.staging import Staging
from ser_tune.study import propose
from ser_tune.tracking import Tracker
from ser_tune.training import EpochScores
from ser_tune.trial import Trial, TrialSettings

Results = Mapping[TrialKey, TrialResult]


@dataclass(frozen=True)
class Run:
    """What every step of one search needs."""

    config: SearchConfig
    folder: ExperimentFolder
    preparation: Preparation
    precision: str
    start_ray: Callable[[], None]
    console: Console

    @property
    def blocks(self) -> list[Block]:
        """The (fold, repeat) pairs that every candidate runs on."""
        return list_blocks(self.config.splits.folds, self.config.search.repeats)

    def results(self) -> Results:
        """The finished trials that belong to this experiment; RunError where one began with a used network."""
        seeds = {block: trial_seed(self.config.seed, *block) for block in self.blocks}
        trials = self.folder.read_trials()
        results = index_results(trials, seeds, self.config.training.epochs, self.preparation.data_fingerprint)
        check_fresh_networks(results.values(), self._network_of)
        return results

    def _network_of(self, hyperparameters: Mapping[str, Any]) -> object:
        setting = resolve(self.config.base, hyperparameters)
        return setting.model.channels, setting.model.hidden, setting.features.shape


def make_schedule(run: Run) -> Schedule:
    """The state of the search as the experiment's folder tells it; what it proposes is written there."""
    config, search, folder = run.config, run.config.search, run.folder
    decisions, results = folder.read_decisions(), run.results()
    curves: dict[str, dict[Block, list[float]]] = {}
    for (name, *block), result in results.items():
        curves.setdefault(name, {})[block[0], block[1]] = result.curve(config.selection.metric)
    own = [line for line in decisions if line["decision"] == "proposed" and line["method"] == search.method]
    told = own[: search.n_candidates] if search.method == "optuna" else []  # the others list theirs anew
    tested = folder.test.exists()  # a finished experiment does not try again what it gave up
    return Schedule(
        _Proposals(config, folder, {line["candidate"] for line in own}),
        run.blocks,
        level=search.race_level if search.races else None,
        n_open=1 if search.method == "optuna" else EVERYTHING,
        candidates=[make_candidate(line["hyperparameters"]) for line in told],
        curves=curves,
        dropped=read_drops(decisions, config.selection.metric) if search.races else {},
        failed={key: reason for key, reason in read_failures(decisions).items() if tested and key not in results},
    )


class _Proposals:
    """The candidates of the method that is chosen; each is on the disk before it runs."""

    def __init__(self, config: SearchConfig, folder: ExperimentFolder, recorded: set[str]):
        self._config = config
        self._folder = folder
        self._recorded = recorded
        method, n = config.search.method, config.search.n_candidates
        listed = list_grid(config.space) if method == "grid" else []
        self._listed = iter(draw_candidates(config.space, n, config.seed) if method == "random" else listed)

    def __call__(self, schedule: Schedule) -> Candidate | None:
        candidate = next(self._listed, None)
        if self._config.search.method == "optuna" and len(schedule.candidates) < self._config.search.n_candidates:
            candidate = propose(self._config.space, schedule, self._config.seed)
        if candidate and candidate.id not in self._recorded:
            self._recorded.add(candidate.id)
            about = {"hyperparameters": candidate.hyperparameters, "method": self._config.search.method}
            self._folder.append_decision({"decision": "proposed", "candidate": candidate.id, **about})
        return candidate


def read_drops(decisions: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Drop]:
    """The candidates that were dropped by their scores of this metric, by id."""
    lines = [line for line in decisions if line["decision"] == "dropped" and line["metric"] == metric]
    fields = ("against", "folds_done", "difference", "highest")
    return {line["candidate"]: Drop(**{name: line[name] for name in fields}) for line in lines}


def read_failures(decisions: Sequence[Mapping[str, Any]]) -> dict[TrialKey, str]:
    """Why trials were given up, the latest reason of each."""
    lines = [line for line in decisions if line["decision"] == "failed"]
    return {(line["candidate"], line["fold"], line["repeat"]): line["reason"] for line in lines}


def run_missing_trials(run: Run, schedule: Schedule) -> None:
    """Run the schedule to its end; needs the cluster only if a trial is missing."""
    config, folder = run.config, run.folder
    results = run.results()
    _Driver(run, schedule, None).judge()
    finished = schedule.finished
    tracker = Tracker(folder.tensorboard)
    tracker.sync(list(results.values()), schedule.candidates)
    if finished:
        return
    if results:
        run.console.print(f"going on: {_count(results, schedule)} trials are finished already")
    run.start_ray()
    n_candidates = config.search.n_candidates if config.search.method == "optuna" else len(schedule.candidates)
    if config.search.method == "random" and n_candidates < config.search.n_candidates:
        run.console.print(f"note: the space holds {n_candidates} candidates only: all of them are tried")
    resources = choose_resources(config.compute, n_candidates * len(run.blocks))
    board = Board(run.console, schedule, n_candidates, config.training.epochs, config.selection.metric)
    names = {candidate.id for candidate in schedule.candidates}
    board.show_finished({key: result for key, result in results.items() if key[0] in names})

    def n_slots() -> float:
        # A cluster may grow, and does when a trial waits for it; where nothing is decided on the way all may wait.
        if config.search.concurrency is None and schedule.level is None and config.search.method != "optuna":
            return EVERYTHING
        return config.search.concurrency or count_slots(resources) + (config.compute.address is not None)

    if config.search.method == "optuna":
        schedule.n_open = max(1, int(n_slots()))
    settings = TrialSettings(config.base, run.preparation.data_fingerprint, resources.cpus, run.precision)
    with board, Staging(config, run.preparation, board.note) as staging:
        driver = _Driver(run, schedule, staging)
        observers: list[Observer] = [driver, _TensorBoard(tracker), board]
        try:
            run_trials(driver, settings, resources, observers, n_slots=n_slots, retries=config.search.retries)
        finally:
            tracker.close()


def _count(results: Results, schedule: Schedule) -> str:
    names = {candidate.id for candidate in schedule.candidates}
    done = sum(key[0] in names for key in results)
    return f"{done} of {len(names) * len(schedule.blocks)}" if schedule.n_open == EVERYTHING else str(done)


class _Driver:
    """Hands the schedule's trials out, and puts results and decisions on the disk before anybody else hears of them."""

    def __init__(self, run: Run, schedule: Schedule, staging: Staging | None):
        self._run = run
        self._schedule = schedule
        self._staging = staging

    def next(self) -> tuple[Trial, ray.ObjectRef] | None:
        assert self._staging is not None
        found = self._schedule.next(self._staging.ready)
        if found is None:
            return None
        candidate, block = found
        return Trial(candidate, *block, trial_seed(self._run.config.seed, *block)), self._staging.data(candidate)

    def is_finished(self) -> bool:
        return self._schedule.finished

    def is_unwanted(self, trial: Trial) -> bool:
        return trial.candidate.id in self._schedule.dropped

    def judge(self) -> None:
        self._record(self._schedule.judge())

    def started(self, trial: Trial) -> None: ...
    def epoch(self, trial: Trial, scores: EpochScores) -> None: ...
    def finished(self, trial: Trial, result: TrialResult) -> None:
        self._run.folder.append_trial(result)
        self._record(self._schedule.end(trial.key, curve=result.curve(self._run.config.selection.metric)))

    def retried(self, trial: Trial, reason: str) -> None: ...
    def failed(self, trial: Trial, reason: str) -> None:
        name, fold, repeat = trial.key
        line = {"decision": "failed", "candidate": name, "fold": fold, "repeat": repeat, "reason": reason}
        self._run.folder.append_decision(line)
        self._schedule.end(trial.key, failure=reason)

    def stopped(self, trial: Trial) -> None:
        self._schedule.end(trial.key)

    def _record(self, drops: Mapping[str, Drop]) -> None:
        config = self._run.config
        for name, drop in drops.items():
            rule = {"metric": config.selection.metric, "level": config.search.race_level}
            self._run.folder.append_decision({"decision": "dropped", "candidate": name, **asdict(drop), **rule})


@dataclass(frozen=True)
class _TensorBoard:
    """Writes what trials report to their TensorBoard logs."""

    tracker: Tracker

    def started(self, trial: Trial) -> None:
        self.tracker.start_trial(*trial.key, trial.candidate.hyperparameters)

    def epoch(self, trial: Trial, scores: EpochScores) -> None:
        values = {name: value for name, value in asdict(scores).items() if name != "epoch"}
        self.tracker.record_epoch(*trial.key, scores.epoch, values)

    def finished(self, trial: Trial, result: TrialResult) -> None:
        self.tracker.finish_trial(result)

    def retried(self, trial: Trial, reason: str) -> None: ...
    def failed(self, trial: Trial, reason: str) -> None:
        self.stopped(trial)

    def stopped(self, trial: Trial) -> None:
        self.tracker.stop_trial(*trial.key)
