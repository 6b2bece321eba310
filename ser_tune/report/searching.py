"""How the search went: what the race skipped, which hyperparameters mattered."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from ser_tune import figures
from ser_tune.config import Range, Value
from ser_tune.metrics import METRIC_NAMES
from ser_tune.report.evidence import CandidateRow, Evidence
from ser_tune.report.markup import Html, count, element, paragraph, percent, picture
from ser_tune.study import Told, make_study

LEAST = 10  # complete candidates; with fewer the shares change much with the seed of fANOVA's trees


def race(evidence: Evidence) -> list[Html]:
    """Which trials were skipped, in numbers and as a figure; nothing where there was no race."""
    if not evidence.candidates or not (evidence.method.races or evidence.drops):
        return []
    n_run = sum(row.folds_done for row in evidence.candidates)
    n_all = len(evidence.candidates) * len(evidence.blocks)
    if not evidence.drops:
        return [paragraph(f"The race dropped no candidate: {n_run} of the {n_all} trials of all folds are finished.")]
    after = Counter(drop["folds_done"] for drop in evidence.drops.values())
    when = ", ".join(f"{n} after {count(folds, 'fold')}" for folds, n in sorted(after.items()))
    level = next(iter(evidence.drops.values()))["level"]
    return [
        element("h3", "The race"),
        paragraph(
            f"A full cross-validation of all {len(evidence.candidates)} candidates runs {n_all} trials; this search "
            f"ran {n_run} of them ({percent(n_run / n_all)}). {len(evidence.drops)} candidates were dropped: {when}. "
            "A candidate is dropped as soon as it is not expected to beat the best complete one over all folds, judged "
            f"by the folds that both ran on; the risk of dropping a better one is {100 * level:g}% at each look."
        ),
        _race_picture(evidence),
    ]


def _race_picture(evidence: Evidence) -> Html:
    scores = [evidence.scores(row) for row in evidence.pictured]
    figure = figures.race_figure(
        [evidence.names[row.candidate.id] for row in evidence.pictured],
        np.array([[known.get(block, np.nan) for block in evidence.blocks] for known in scores]),
        [_fate(evidence, row) for row in evidence.pictured],
        evidence.n_folds,
        evidence.marked,
        evidence.metric,
    )
    return picture(
        evidence.folder.figures,
        "race",
        figure,
        "A row per candidate, a cell for every fold it ran on, and behind the last one what became of it",
        "A cell is a trial, the darker the higher its score. Behind the last cell: the mean of a complete candidate, "
        f"or how far a dropped one lay below which candidate on the folds that both had run on.{evidence.beyond}",
    )


def _fate(evidence: Evidence, row: CandidateRow) -> str:
    if row.status == "complete":
        return f"mean {row.mean:.1%}" + (", chosen" if row.candidate.id == evidence.winner else "")
    drop = evidence.drops.get(row.candidate.id)
    if not drop:
        return row.status
    return f"dropped, {evidence.lag(drop)}"


def hyperparameters(evidence: Evidence) -> list[Html]:
    """The candidates' ways through the space, and what mattered; one sentence where only one hyperparameter varies."""
    settings = [row.candidate.hyperparameters for row in evidence.ranked]
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    varied = [name for name in names if len({setting.get(name) for setting in settings}) > 1]
    if len(varied) < 2:
        only = f"only {varied[0]} varies" if varied else "none varies"
        return [paragraph(f"Importance of hyperparameters: it needs two or more that vary; {only}.")]
    values = {name: [setting.get(name) for setting in settings] for name in varied}
    figure = figures.space_figure(
        values,
        [name for name in varied if _is_logarithmic(evidence, name, values[name])],
        [evidence.score_so_far(row) for row in evidence.ranked],
        [row.status == "complete" for row in evidence.ranked],
        evidence.marked,
        evidence.metric,
    )
    alt = "A line per candidate through an axis per hyperparameter to its score"
    return [
        element("h3", "Hyperparameters"),
        picture(
            evidence.folder.figures,
            "hyperparameters",
            figure,
            alt,
            "A line is a candidate: it crosses each axis at its value and ends at its score.",
        ),
        *_importance(evidence),
    ]


def _is_logarithmic(evidence: Evidence, name: str, values: Sequence[Value | None]) -> bool:
    """Whether it was searched by its logarithm, or, being a list, spreads over a decade or more."""
    dimension = evidence.space.dimensions().get(name)
    if isinstance(dimension, Range):
        return dimension.log
    numbers = [value for value in values if isinstance(value, int | float)]
    return bool(numbers) and min(numbers) > 0 and max(numbers) >= 10 * min(numbers)


def _importance(evidence: Evidence) -> list[Html]:
    found = importances(evidence)
    if isinstance(found, str):
        return [paragraph(f"Importance of hyperparameters: {found}.")]
    figure = figures.importance_figure(found, evidence.metric)
    counted = "; dropped ones count as far from their rival's mean as they were on the folds that both ran on"
    counted = counted if evidence.drops else ""
    return [
        picture(
            evidence.folder.figures,
            "importance",
            figure,
            "A bar per hyperparameter: the share of the score's variance that it explains",
            f"By Optuna's fANOVA over the candidates{counted}: the share of the variance of validation "
            f"{METRIC_NAMES[evidence.metric]} over the space searched that each hyperparameter explains by itself; the "
            f"shares are made to add up to 100%. A bar near 0 says that its values hardly mattered here.",
        )
    ]


def importances(evidence: Evidence) -> Mapping[str, float] | str:
    """The share of each hyperparameter, the largest first, by Optuna (Hutter et al. 2014); or, in words, what lacks."""
    scores = expected_scores(evidence)
    judged = [row.candidate for row in evidence.candidates if row.candidate.id in scores]
    history = [Told(one.hyperparameters, [scores[one.id]], TrialState.COMPLETE) for one in judged]
    study = make_study(evidence.space, history, seed=0)
    if len(study.trials) < LEAST:
        return f"it needs {LEAST} complete or dropped candidates of the space searched; there are {len(study.trials)}"
    if len({trial.value for trial in study.trials}) < 2:
        return "all candidates have the same score"
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}


def expected_scores(evidence: Evidence) -> dict[str, float]:
    """By id: the mean of a complete candidate; of a dropped one what its rival's mean and lead let expect."""
    scores = {row.candidate.id: row.mean for row in evidence.candidates if row.status == "complete"}
    for name, drop in evidence.drops.items():
        if name not in scores and drop["against"] in scores:
            scores[name] = scores[drop["against"]] + drop["difference"]
    return scores
