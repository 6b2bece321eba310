"""Which candidates need no further folds: a paired test on the folds they share with the best complete one.

Curves of (candidate, block) come in, a block being a fold of a repeat. Pure. After Maron & Moore 1994, Kuhn 2014 and
Krueger et al. 2015; Bergman et al. 2024 is what benchmarks/ compares it with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

Block = tuple[int, int]  # fold, repeat
Curve = Sequence[float]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drop:
    """Why a candidate is not run on."""

    against: str
    """The best complete candidate at that moment."""
    folds_done: int
    difference: float
    """Mean paired difference to it on the folds done."""
    highest: float
    """The highest difference over all folds that is still to be expected, below 0."""

    @property
    def reason(self) -> str:
        """Why, in words."""
        folds = "1 fold" if self.folds_done == 1 else f"{self.folds_done} folds"
        return (
            f"{-100 * self.difference:.1f} points below candidate {self.against} on {folds}, and over all folds at "
            f"least {-100 * self.highest:.1f} points below it are expected"
        )


def list_blocks(n_folds: int, n_repeats: int) -> list[Block]:
    """What every candidate runs on: all folds, then all folds of the next repeat."""
    return [(fold, repeat) for repeat in range(n_repeats) for fold in range(n_folds)]


def best_epoch(curves: npt.NDArray[np.float64]) -> int:
    """First maximum of the mean of curves [folds, epochs], from 0."""
    return int(rounded(curves.mean(axis=0)).argmax())


def rounded(means: Any) -> Any:
    """Means as they are compared: equal scores in another order of folds tie, whatever the last bits say."""
    return np.round(means, 12)


def find_hopeless(
    curves: Mapping[str, Mapping[Block, Curve]], blocks: Sequence[Block], level: float
) -> dict[str, Drop]:
    """The unfinished candidates that are not expected to beat the best complete one on all blocks.

    On m of J blocks a candidate lies d below the best one. Its difference over all J is then expected at d, with
    the variance 2 s^2 (1/m - 1/J): none is left at m = J. s^2 is the variance of what candidate and block leave
    unexplained in the scores, pooled over candidates with two blocks or more. Dropped where even the upper end of
    that prediction at `level` (one-sided, Student's t) is below 0.
    """
    names = [name for name, done in curves.items() if done]
    if not names:
        return {}
    scores = _scores([curves[name] for name in names], blocks)
    done = np.isfinite(scores)
    complete = np.flatnonzero(done.all(axis=1))
    if not len(complete) or done.all():
        return {}
    best = complete[rounded(scores[complete].mean(axis=1)).argmax()]
    variance, freedom = residual_variance(scores)
    if freedom < 1:
        return {}
    n_done = done.sum(axis=1)
    differences = np.where(done, scores - scores[best], 0.0).sum(axis=1) / np.maximum(n_done, 1)
    spreads = np.sqrt(2 * variance * (1 / np.maximum(n_done, 1) - 1 / len(blocks)))
    highest = differences + _quantile(1 - level, freedom) * spreads
    return {
        names[row]: Drop(names[best], int(n_done[row]), float(differences[row]), float(highest[row]))
        for row in np.flatnonzero((highest < 0) & (n_done < len(blocks)))
    }


def residual_variance(scores: Scores) -> tuple[float, int]:
    """Variance left by the additive model candidate + block in scores [candidates, blocks], and its degrees of freedom.

    Missing scores are nan; candidates with one score say nothing and are left out. The blocks' effects solve the
    normal equations that remain when the candidates' are eliminated.
    """
    known = np.isfinite(scores)
    enough = known.sum(axis=1) >= 2
    known, values = known[enough].astype(float), np.where(known, scores, 0.0)[enough]
    n_scores = known.sum(axis=1, keepdims=True)
    centred = values - known * (values.sum(axis=1, keepdims=True) / n_scores)
    effects, _, rank, _ = np.linalg.lstsq(
        np.diag(known.sum(axis=0)) - known.T @ (known / n_scores), centred.sum(axis=0), rcond=1e-9
    )
    rest = centred - known * (effects - known @ effects[:, None] / n_scores)
    freedom = int(known.sum()) - len(known) - int(rank)
    return (float((rest**2).sum()) / freedom, freedom) if freedom > 0 else (0.0, 0)


def _scores(curves: Sequence[Mapping[Block, Curve]], blocks: Sequence[Block]) -> Scores:
    """Scores [candidates, blocks] at the epoch where the mean over a candidate's blocks is highest; nan: missing."""
    places = {block: place for place, block in enumerate(blocks)}
    n_epochs = len(next(iter(curves[0].values())))
    table = np.full((len(curves), len(blocks), n_epochs), np.nan)
    for row, done in enumerate(curves):
        for block, curve in done.items():
            table[row, places[block]] = curve
    known = np.isfinite(table)
    means = np.where(known, table, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    epochs = rounded(means).argmax(axis=1)
    scores: Scores = np.take_along_axis(table, epochs[:, None, None], axis=2)[:, :, 0]
    return scores


@cache
def _quantile(probability: float, freedom: int) -> float:
    return float(student_t.ppf(probability, freedom))
