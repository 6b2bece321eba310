"""Finished trials -> fold means -> the choice. Pure; a candidate with a gap cannot win.

A candidate's curve is the unweighted mean of its folds' curves of the metric; its epoch is the first
maximum of that curve and its mean the value there. Ties go to the candidate listed earlier.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_tune.candidates import Candidate
from ser_tune.config import Metric
from ser_tune.errors import RunError
from ser_tune.experiment import TrialResult


@dataclass(frozen=True)
class CandidateSummary:
    """One row of candidates.csv; `mean` and `sd` are nan and `epochs` 0 unless it is complete."""

    candidate: Candidate
    folds_done: int
    mean: float
    sd: float
    epochs: int
    status: str
    diagnosis: str

    def row(self) -> dict[str, Any]:
        """The summary as candidates.csv names it."""
        own = {"folds_done": self.folds_done, "mean": self.mean, "sd": self.sd, "epochs": self.epochs}
        words = {"status": self.status, "diagnosis": self.diagnosis}
        return {"candidate": self.candidate.id, **self.candidate.hyperparameters, **own, **words}


def index_results(
    results: Sequence[TrialResult], seeds: Mapping[int, int], epochs: int, data_fingerprint: str
) -> dict[tuple[str, int], TrialResult]:
    """The trials that count, by (candidate, fold): whole, of these data and of their fold's seed.

    A trial that is there twice (a kill between two writers) counts once, the first.
    """
    counted: dict[tuple[str, int], TrialResult] = {}
    for result in results:
        whole = result.epochs == epochs == len(result.val_accuracy)
        if whole and result.data_fingerprint == data_fingerprint and seeds.get(result.fold) == result.seed:
            counted.setdefault((result.candidate, result.fold), result)
    return counted


def summarise_candidates(
    candidates: Sequence[Candidate],
    results: Mapping[tuple[str, int], TrialResult],
    n_folds: int,
    metric: Metric,
    majority_share: float,
) -> list[CandidateSummary]:
    """One summary per candidate, in their order; `majority_share` is the share of the largest class."""
    summaries = []
    for candidate in candidates:
        folds = [results[candidate.id, fold] for fold in range(n_folds) if (candidate.id, fold) in results]
        curves = np.array([result.curve(metric) for result in folds])
        if len(folds) < n_folds or not np.isfinite(curves).all():
            empty = (len(folds), math.nan, math.nan, 0, "incomplete")
            summaries.append(CandidateSummary(candidate, *empty, diagnose(folds, majority_share) if folds else ""))
            continue
        mean_curve = curves.mean(axis=0)
        epoch = int(mean_curve.argmax())
        summaries.append(
            CandidateSummary(
                candidate=candidate,
                folds_done=n_folds,
                mean=float(mean_curve[epoch]),
                sd=float(curves[:, epoch].std(ddof=1)),
                epochs=epoch + 1,
                status="complete",
                diagnosis=diagnose(folds, majority_share),
            )
        )
    return summaries


def choose(summaries: Sequence[CandidateSummary]) -> CandidateSummary:
    """The complete candidate with the highest mean, the earlier on a tie; RunError if none is complete."""
    complete = [summary for summary in summaries if summary.status == "complete"]
    if not complete:
        raise RunError("no candidate has a finite score on every fold; see trials.jsonl, then run the command again")
    return max(complete, key=lambda summary: summary.mean)  # max keeps the first of equals


def selection_record(choice: CandidateSummary, summaries: Sequence[CandidateSummary], metric: Metric) -> dict[str, Any]:
    """The content of selection.json, with the reason as a sentence."""
    n_complete = sum(summary.status == "complete" for summary in summaries)
    reason = (
        f"{choice.candidate.label} has the highest {metric} of {n_complete} complete candidates: "
        f"{choice.mean:.4f} at epoch {choice.epochs}, the mean of {choice.folds_done} folds"
    )
    return {
        "candidate": choice.candidate.id,
        "hyperparameters": choice.candidate.hyperparameters,
        "epochs": choice.epochs,
        "metric": metric,
        "mean": choice.mean,
        "sd": choice.sd,
        "reason": reason,
    }


def diagnose(folds: Sequence[TrialResult], majority_share: float) -> str:
    """Return what the mean curves at the last epoch say, by this rule, the first that fits.

    collapsed     a loss is not finite, or training accuracy is within 5 points of the largest class's share:
                  the network learnt at most to name that class;
    overfitting   training accuracy is more than 10 points above validation accuracy;
    underfitting  training accuracy covers less than half of the way from that share to 1, or validation
                  accuracy still rises: the mean of its last third of epochs is 2 points above the third before;
    fine          otherwise.
    Training accuracy is the running mean over the epoch's batches, dropout on: lower than after the epoch.
    """
    losses = np.array([result.train_loss + result.val_loss for result in folds])
    train = np.array([result.train_accuracy for result in folds]).mean(axis=0)
    validation = np.array([result.val_accuracy for result in folds]).mean(axis=0)
    if not np.isfinite(losses).all() or train[-1] <= majority_share + 0.05:
        return "collapsed"
    if train[-1] - validation[-1] > 0.10:
        return "overfitting"
    third = max(1, len(validation) // 3)
    earlier = validation[:-third]
    rising = len(earlier) > 0 and validation[-third:].mean() > earlier[-third:].mean() + 0.02
    if rising or train[-1] < (1 + majority_share) / 2:
        return "underfitting"
    return "fine"
