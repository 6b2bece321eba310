"""How sure a choice is: corrected intervals of means over folds and of paired differences between candidates.

Folds share training clips, so their scores vary less than those of new data would; Nadeau & Bengio (2003,
"Inference for the Generalization Error") widen the variance of their mean from 1/J to 1/J + n_test/n_train.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from ser_tune.config import Metric
from ser_tune.metrics import METRIC_NAMES
from ser_tune.selection import CandidateSummary, choose, within_one_se

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float


NOTHING = Interval(math.nan, math.nan, math.nan)


def corrected_interval(values: Sequence[float], n_folds: int) -> Interval:
    """The interval of the mean of values from repeated cross-validation; nan for fewer than two values.

    mean +- t s sqrt(1/J + 1/(n_folds - 1)), with J values, their standard deviation s, and J - 1 degrees of
    freedom: of n_folds parts one tests and the others train.
    """
    if len(values) < 2:
        return NOTHING
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    half = quantile * sd * math.sqrt(1 / len(values) + 1 / (n_folds - 1))
    return Interval(mean, mean - half, mean + half)


def difference(one: CandidateSummary, other: CandidateSummary, n_folds: int) -> Interval:
    """How far `one` lies above `other`, paired fold by fold, each at its own epoch."""
    if not one.scores or not other.scores:
        return NOTHING
    return corrected_interval(np.subtract(one.scores, other.scores).tolist(), n_folds)


def table_row(
    summary: CandidateSummary, winner: CandidateSummary | None, best: CandidateSummary | None, n_folds: int
) -> dict[str, Any]:
    """The summary as a row of candidates.csv."""
    interval = corrected_interval(summary.scores, n_folds)
    to_winner = difference(summary, winner, n_folds) if winner else NOTHING
    complete = summary.status == "complete" and best is not None
    return {
        "candidate": summary.candidate.id,
        **summary.candidate.hyperparameters,
        "folds_done": summary.folds_done,
        "mean": summary.mean,
        "sd": summary.sd,
        "low": interval.low,
        "high": interval.high,
        "difference": to_winner.mean,
        "difference_low": to_winner.low,
        "difference_high": to_winner.high,
        "within_one_se": within_one_se(summary, best) if complete and best else "",
        "epochs": summary.epochs,
        "status": summary.status,
        "diagnosis": summary.diagnosis,
        "reason": summary.reason,
    }


def selection_record(
    winner: CandidateSummary, summaries: Sequence[CandidateSummary], metric: Metric, rule: str, n_folds: int
) -> dict[str, Any]:
    """The content of selection.json: the choice, why, and how sure it is."""
    complete = [summary for summary in summaries if summary.status == "complete"]
    best = choose(summaries)
    others = [summary for summary in complete if summary is not winner]
    runner_up = max(others, key=lambda summary: summary.mean) if others else None
    interval = corrected_interval(winner.scores, n_folds)
    return {
        "candidate": winner.candidate.id,
        "hyperparameters": winner.candidate.hyperparameters,
        "epochs": winner.epochs,
        "metric": metric,
        "mean": winner.mean,
        "sd": winner.sd,
        "interval": [interval.low, interval.high],
        "rule": rule,
        "reason": _reason(winner, best, len(complete), METRIC_NAMES[metric]),
        **_certainty(winner, runner_up, n_folds),
    }


def _reason(winner: CandidateSummary, best: CandidateSummary, n_complete: int, metric: str) -> str:
    of = f"of {n_complete} complete candidates" if n_complete > 1 else "as the only complete candidate"
    at = f"{winner.mean:.4f} at epoch {winner.epochs}, the mean of {winner.folds_done} folds"
    if winner is best:
        return f"{winner.candidate.label} has the highest {metric} {of}: {at}"
    return (
        f"{winner.candidate.label} is the simplest {of} within one standard error of the highest {metric} "
        f"({best.mean:.4f}, {best.candidate.label}): {at}"
    )


def _certainty(winner: CandidateSummary, runner_up: CandidateSummary | None, n_folds: int) -> Mapping[str, Any]:
    """The runner-up, and a sentence on whether the winner can be told from it."""
    if runner_up is None:
        return {"runner_up": None, "certainty": "There is no other complete candidate to compare it with."}
    gap = difference(winner, runner_up, n_folds)
    told = gap.low > 0 or gap.high < 0
    text = (
        f"It {'can' if told else 'cannot'} be told from the runner-up, {runner_up.candidate.label}: "
        f"{100 * gap.mean:+.1f} points "
        f"[{100 * gap.low:+.1f}, {100 * gap.high:+.1f}], 95% interval of the paired difference over the folds."
    )
    about = {"candidate": runner_up.candidate.id, "difference": gap.mean, "interval": [gap.low, gap.high]}
    return {"runner_up": about, "certainty": text}
