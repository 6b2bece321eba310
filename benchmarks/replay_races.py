"""Replay rules that drop candidates early over tables of every trial's scores, in thousands of random orders.

    python benchmarks/replay_races.py                     the Markdown table of benchmarks/README.md
    python benchmarks/replay_races.py --export DIR NAME   a finished search with --search.race off -> a score table

A table holds the validation accuracy of every candidate on every fold after every epoch. For each order a rule sees
only what it asks for; what counts is how many trials it ran, and what it chose instead of the full cross-validation.
"""

import argparse
import csv
import functools
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna

from ser_tune.candidates import Candidate
from ser_tune.experiment import ExperimentFolder
from ser_tune.race import best_epoch, list_blocks
from ser_tune.schedule import EVERYTHING, Schedule

TABLES = Path(__file__).parent / "score_tables"
Table = npt.NDArray[np.float64]  # [candidates, folds, epochs]
Outcome = tuple[int, list[int]]  # trials run, candidates complete


def full(table: Table) -> Outcome:
    """Every trial: full cross-validation."""
    return table.shape[0] * table.shape[1], list(range(len(table)))


def paired(table: Table, level: float, n_slots: int = 1, n_open: int = EVERYTHING) -> Outcome:
    """ser_tune's own schedule, the trials that run side by side ending in the order they were started."""
    names: Iterator[Candidate] = iter([Candidate(str(row), {}) for row in range(len(table))])
    schedule = Schedule(lambda _: next(names, None), list_blocks(table.shape[1], 1), level=level, n_open=n_open)
    running: list[tuple[str, int, int]] = []
    n_started = 0
    while True:
        while len(running) < n_slots and (found := schedule.next()):
            running.append((found[0].id, *found[1]))
            n_started += 1
        if not running:
            break
        name, fold, repeat = running.pop(0)
        wanted = name not in schedule.dropped
        schedule.end((name, fold, repeat), curve=list(table[int(name), fold]) if wanted else None)
    return n_started, [int(one.id) for one in schedule.candidates if schedule.is_complete(one)]


def one_by_one(table: Table, stops: Callable[[Table, Table], bool]) -> Outcome:
    """One candidate after another, fold by fold, until `stops(curves so far, curves of the best)`."""
    n_trials, complete, best = 0, [], None
    for row, curves in enumerate(table):
        for n_done in range(1, table.shape[1] + 1):
            n_trials += 1
            if best is not None and n_done < table.shape[1] and stops(curves[:n_done], table[best]):
                break
        else:
            complete.append(row)
            if best is None or score(curves) > score(table[best]):
                best = row
    return n_trials, complete


def halving(table: Table) -> Outcome:
    """On the first fold the better half goes on at a quarter of the epochs, and again at half of them; no race."""
    n, n_folds, n_epochs = table.shape
    left, spent = np.arange(n), 0
    reached = 0
    for epoch in (n_epochs // 4, n_epochs // 2):
        spent += len(left) * (epoch - reached)
        reached = epoch
        best = np.argsort(-table[left, 0, :epoch].max(axis=1), kind="stable")
        left = left[best[: max(2, len(left) // 2)]]
    spent += len(left) * (n_epochs * n_folds - reached)
    return round(spent / n_epochs), left.tolist()


def score(curves: Table) -> float:
    """The mean over the folds [folds, epochs] at its best epoch."""
    return float(curves.mean(axis=0).max())


def aggressive(curves: Table, best: Table) -> bool:
    """Bergman et al. 2024: the mean of the folds so far is below the best candidate's mean."""
    return score(curves) < score(best)


def forgiving(curves: Table, best: Table) -> bool:
    """Bergman et al. 2024: the mean of the folds so far is below the best candidate's worst fold."""
    return bool(score(curves) < best[:, best_epoch(best)].min())


def wilcoxon(curves: Table, best: Table) -> bool:
    """Optuna's own WilcoxonPruner with its default settings, told the scores of the folds so far."""
    return _wilcoxon(tuple(curves[:, best_epoch(curves)]), tuple(best[:, best_epoch(best)]))


@functools.cache
def _wilcoxon(scores: tuple[float, ...], best: tuple[float, ...]) -> bool:
    study = optuna.create_study(direction="maximize")
    steps = dict(enumerate(best))
    study.add_trial(optuna.trial.create_trial(value=float(np.mean(best)), intermediate_values=steps))
    running = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, intermediate_values=dict(enumerate(scores))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return bool(optuna.pruners.WilcoxonPruner().prune(study, running))


RULES: dict[str, Callable[[Table], Outcome]] = {
    "off": full,
    "paired, level 0.01 (ours)": functools.partial(paired, level=0.01),
    "ours, 8 trials at a time": functools.partial(paired, level=0.01, n_slots=8),
    "ours, one candidate at a time": functools.partial(paired, level=0.01, n_open=1),
    "paired, level 0.05": functools.partial(paired, level=0.05),
    "forgiving (Bergman et al.)": functools.partial(one_by_one, stops=forgiving),
    "aggressive (Bergman et al.)": functools.partial(one_by_one, stops=aggressive),
    "halving by epoch, on the first fold": halving,
    "WilcoxonPruner (Optuna)": functools.partial(one_by_one, stops=wilcoxon),
}


def replay(name: str, rule: str, n_orders: int, n_drawn: int) -> tuple[float, float, float]:
    """The share of trials run, the share of other choices, and the mean shortfall of the chosen mean [points]."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read_table(name)
    random = np.random.default_rng(0)
    n_trials, n_other, shortfall = 0, 0, 0.0
    for _ in range(n_orders):
        order = random.permutation(len(table))[:n_drawn]
        drawn = table[order]
        scores = np.array([score(curves) for curves in drawn])
        ran, complete = RULES[rule](drawn)
        lost = scores.max() - scores[complete].max()
        n_trials += ran
        n_other += lost > 0
        shortfall += 100 * lost
    return n_trials / (n_orders * drawn.shape[0] * drawn.shape[1]), n_other / n_orders, shortfall / n_orders


def replay_job(job: tuple[str, str, int, int]) -> tuple[float, float, float]:
    """`replay` with its arguments in one."""
    return replay(*job)


def read_table(name: str) -> Table:
    """Scores [candidates, folds, epochs] of a table in score_tables/."""
    scores: dict[str, dict[int, list[float]]] = {}
    with (TABLES / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            curve = [float(value) for key, value in row.items() if key.startswith("epoch ")]
            scores.setdefault(row["candidate"], {})[int(row["fold"])] = curve
    return np.array([[folds[fold] for fold in sorted(folds)] for folds in scores.values()])


def export(root: Path, name: str) -> None:
    """Write the accuracy curves of an experiment's trials as a table."""
    trials = ExperimentFolder(root).read_trials()
    hyperparameters = list(trials[0].hyperparameters)
    epochs = [f"epoch {epoch}" for epoch in range(1, trials[0].epochs + 1)]
    with (TABLES / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["candidate", *hyperparameters, "fold", *epochs])
        for trial in trials:
            values = [trial.hyperparameters[key] for key in hyperparameters]
            writer.writerow([trial.candidate, *values, trial.fold, *(f"{value:.4f}" for value in trial.val_accuracy)])


def main() -> None:
    """Print the table, or export one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", nargs=2, metavar=("DIR", "NAME"))
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument(
        "--draw", type=int, nargs="*", default=[40, 16], help="candidates in each search, of those measured"
    )
    arguments = parser.parse_args()
    if arguments.export:
        export(Path(arguments.export[0]), arguments.export[1])
        return
    names = sorted(path.stem for path in TABLES.glob("*.csv"))
    jobs = [(name, rule, arguments.orders, n) for n in arguments.draw for name in names for rule in RULES]
    print("| candidates | table | rule | trials run | other choices | mean shortfall |")
    print("|---|---|---|---|---|---|")
    with multiprocessing.Pool() as pool:
        for (name, rule, _, n), found in zip(jobs, pool.imap(replay_job, jobs), strict=True):
            ran, other, shortfall = found
            print(f"| {n} | {name} | {rule} | {ran:.1%} | {other:.1%} | {shortfall:.3f} points |", flush=True)


if __name__ == "__main__":
    main()
