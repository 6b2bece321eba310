"""Finished trials -> means over the folds -> the choice. Pure; a candidate with a gap cannot win.

A candidate's curve is the unweighted mean of its folds' curves of the metric; its epoch is the first
maximum of that curve and its mean the value there. Ties go to the candidate listed earlier.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_tune.candidates import Candidate
from ser_tune.config import Metric
from ser_tune.errors import RunError
from ser_tune.experiment import TrialKey, TrialResult
from ser_tune.race import Block, best_epoch, rounded


@dataclass(frozen=True)
class CandidateSummary:
    """What the folds say of a candidate; `scores` is empty, `epochs` 0 and the rest nan unless it is complete."""

    candidate: Candidate
    folds_done: int
    """Of all repeats."""
    scores: tuple[float, ...]
    """At the chosen epoch, one per fold, repeat by repeat."""
    epochs: int
    status: str
    """complete, dropped or incomplete."""
    diagnosis: str
    reason: str
    """Why it is not complete."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation over the folds."""
        return float(np.std(self.scores, ddof=1)) if self.scores else math.nan

    @property
    def standard_error(self) -> float:
        return self.sd / math.sqrt(len(self.scores)) if self.scores else math.nan


def index_results(
    results: Sequence[TrialResult], seeds: Mapping[Block, int], epochs: int, data_fingerprint: str
) -> dict[TrialKey, TrialResult]:
    """The trials that count: whole, of these data, and of their fold's and repeat's seed.

    A trial that is there twice (a kill between two writers) counts once, the first.
    """
    counted: dict[TrialKey, TrialResult] = {}
    for result in results:
        whole = result.epochs == epochs == len(result.val_accuracy)
        own = seeds.get((result.fold, result.repeat)) == result.seed
        if whole and own and result.data_fingerprint == data_fingerprint:
            counted.setdefault(result.key, result)
    return counted


def check_fresh_networks(results: Iterable[TrialResult], network_of: Callable[[Mapping[str, Any]], object]) -> None:
    """Raise RunError unless the trials of a fold and repeat whose networks are alike began with the same weights.

    They share a seed, so other weights were there before: those of a trial that ran earlier in the process, say.
    `network_of` returns what of the hyperparameters shapes the network, hashable.
    """
    first: dict[object, TrialResult] = {}
    for result in results:
        other = first.setdefault((result.fold, result.repeat, network_of(result.hyperparameters)), result)
        if other.initial_weights_sha256 != result.initial_weights_sha256:
            raise RunError(
                f"leak: candidates {other.candidate} and {result.candidate} began fold {result.fold}, repeat "
                f"{result.repeat}, with different weights, though seed and network are the same: one was not fresh; "
                "after a change of torch or of the network choose another --experiment"
            )


def summarise_candidates(
    candidates: Sequence[Candidate],
    results: Mapping[TrialKey, TrialResult],
    blocks: Sequence[Block],
    metric: Metric,
    majority_share: float,
    reasons: Mapping[str, tuple[str, str]] | None = None,
) -> list[CandidateSummary]:
    """One summary per candidate, in their order; `majority_share` is the share of the largest class.

    `reasons` holds, by id, the status and the reason of candidates that were dropped or given up.
    """
    summaries = []
    for candidate in candidates:
        keys = [(candidate.id, *block) for block in blocks]
        folds = [results[key] for key in keys if key in results]
        curves = np.array([result.curve(metric) for result in folds])
        diagnosis = diagnose(folds, majority_share) if folds else ""
        if len(folds) < len(blocks) or not np.isfinite(curves).all():
            status, reason = (reasons or {}).get(candidate.id, ("incomplete", _gap(len(folds), len(blocks))))
            summaries.append(CandidateSummary(candidate, len(folds), (), 0, status, diagnosis, reason))
            continue
        epoch = best_epoch(curves)
        scores = tuple(float(score) for score in curves[:, epoch])
        summaries.append(CandidateSummary(candidate, len(folds), scores, epoch + 1, "complete", diagnosis, ""))
    return summaries


def _gap(done: int, wanted: int) -> str:
    return "not every score is a finite number" if done == wanted else f"{wanted - done} of {wanted} trials are missing"


def choose(
    summaries: Sequence[CandidateSummary], rule: str = "best", n_parameters: Mapping[str, int] | None = None
) -> CandidateSummary:
    """The complete candidate with the highest mean, the earlier on a tie; RunError if none is complete.

    With the rule one-se, the simplest whose mean is within one standard error of that (Breiman et al. 1984): the
    one with the fewest parameters (`n_parameters` by id), then epochs, then the highest mean.
    """
    complete = [summary for summary in summaries if summary.status == "complete"]
    if not complete:
        gaps = sorted({summary.reason for summary in summaries if summary.reason})
        said = f" ({'; '.join(gaps[:3])})" if gaps else ""
        raise RunError(f"no candidate has a finite score on every fold{said}; run the same command again to try anew")
    best = max(complete, key=lambda summary: rounded(summary.mean))  # max keeps the first of equals
    if rule == "best":
        return best
    sizes = n_parameters or {}
    near = [summary for summary in complete if within_one_se(summary, best)]
    return min(near, key=lambda summary: (sizes[summary.candidate.id], summary.epochs, -rounded(summary.mean)))


def within_one_se(summary: CandidateSummary, best: CandidateSummary) -> bool:
    """Whether its mean is at most one standard error of the best mean below it; False for an incomplete one."""
    return summary.mean >= best.mean - best.standard_error


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
