"""The candidates' part of the report: their table, why the choice, how sure it is, the learning curves."""

import math

from ser_tune import figures
from ser_tune.candidates import shown
from ser_tune.figures.canvas import DPI
from ser_tune.metrics import METRIC_NAMES
from ser_tune.report import searching
from ser_tune.report.evidence import CandidateRow, Evidence
from ser_tune.report.markup import (
    Html,
    Wide,
    bullets,
    count,
    details,
    element,
    interval,
    join,
    paragraph,
    picture,
    section,
)
from ser_tune.report.markup import table as html_table

DIAGNOSES = {
    "overfitting": "training accuracy ends more than 10 points above validation accuracy: it learns clips by heart.",
    "underfitting": "training accuracy stays low, or validation accuracy still rises at the end: it has not learnt "
    "enough; more epochs or another learning rate may help.",
    "collapsed": "it learnt at most to name the most frequent emotion, or its loss is not a number: often a "
    "learning rate that is too high.",
    "fine": "none of these.",
}
FEW, OPEN = 8, 6  # so many candidates all show their curves; of more, the first of the table do
SMALL_DPI = 100  # of the curves that are shown when asked for


def candidates(evidence: Evidence) -> Html:
    """The table, the choice and its certainty, the comparison, the race, the hyperparameters, the curves."""
    chosen = evidence.selection or {}
    why = evidence.named(f"Why this one: {chosen['reason'].rstrip('.')}. {chosen['certainty']}") if chosen else ""
    return section(
        "Candidates",
        paragraph(
            "A candidate is one setting of the hyperparameters, trained afresh on each of "
            f"{evidence.counted_folds}. Its score is the mean of its folds, ± their standard deviation, at the epoch "
            "where the folds' mean curve is highest."
        ),
        table(evidence),
        *_reading(evidence),
        paragraph(why) if why else Html(),
        _comparison(evidence) if evidence.trials else Html(),
        *searching.race(evidence),
        *searching.hyperparameters(evidence),
        *_learning_curves(evidence),
    )


def table(evidence: Evidence) -> Html:
    """A row per candidate: its scores or why it has none, and its hyperparameters where it is called by a number."""
    score = METRIC_NAMES[evidence.metric]
    header = ["candidate", f"validation {score}", "95% interval", "difference to the chosen", "within one SE", "epochs"]
    names = list(dict.fromkeys(name for row in evidence.candidates for name in row.candidate.hyperparameters))
    own_columns = names if evidence.numbered else []
    rows = []
    for row in evidence.ranked:
        name = evidence.names[row.candidate.id] + (" (chosen)" if row.candidate.id == evidence.winner else "")
        scores = _scores(row) if row.status == "complete" else [Wide(_shortcoming(evidence, row), 5)]
        folds = f"{row.folds_done} of {len(evidence.blocks)}"
        values = [shown(row.candidate.hyperparameters.get(name, "-")) for name in own_columns]
        rows.append((name, *scores, folds, row.status, row.diagnosis or "-", *values))
    header += ["folds", "status", "diagnosis", *own_columns]
    return html_table(header, rows, marked=evidence.marked, broad=True)


def _scores(row: CandidateRow) -> list[object]:
    """Mean, interval, difference to the chosen, whether within one standard error, epochs."""
    near = "yes" if row.within_one_se else "no"
    return [f"{row.mean:.1%} ± {100 * row.sd:.1f}", interval(row.low, row.high), _difference(row), near, row.epochs]


def _difference(row: CandidateRow) -> str:
    if row.difference == row.difference_low == row.difference_high == 0 or not math.isfinite(row.difference):
        return "-"
    return f"{100 * row.difference:+.1f} [{100 * row.difference_low:+.1f}, {100 * row.difference_high:+.1f}]"


def _shortcoming(evidence: Evidence, row: CandidateRow) -> str:
    """Why the candidate has no score."""
    drop = evidence.drops.get(row.candidate.id)
    if not drop:
        return evidence.named(row.reason)
    on = count(drop["folds_done"], "fold")
    return f"{evidence.lag(drop)} on {on}; at least {-100 * drop['highest']:.1f} expected over all"


def _reading(evidence: Evidence) -> list[Html]:
    """How to read the table."""
    numbers = "Numbers count the candidates in the order of candidates.csv. " if evidence.numbered else ""
    dropped = (
        " Of a dropped candidate: how far it lay below the best complete one of that moment, and what the race then "
        "expected of all folds."
    )
    return [
        paragraph(
            f"{numbers}Difference to the chosen: paired fold by fold, in points, with its 95% interval; where the "
            "interval holds 0, these folds cannot tell the two apart. Within one SE: at most one standard error below "
            f"the highest mean.{dropped * bool(evidence.drops)}"
        )
    ]


def _comparison(evidence: Evidence) -> Html:
    rows = [row for row in evidence.pictured if row.status != "dropped"]
    figure = figures.comparison_figure(
        [evidence.names[row.candidate.id] for row in rows],
        [list(evidence.scores(row).values()) for row in rows],
        [(row.mean, row.low, row.high) for row in rows],
        evidence.marked,
        evidence.metric,
        evidence.validation_chance,
    )
    others = " Those that were dropped are shown below." if evidence.drops else ""
    return picture(
        evidence.folder.figures,
        "candidates",
        figure,
        f"Validation {METRIC_NAMES[evidence.metric]} of every fold, the mean and its interval, one row per candidate",
        "A dot is a fold, a bar the mean of the folds, a line its 95% interval; at the candidate's epoch, or, of an "
        f"incomplete candidate, that of its highest mean so far.{others}{evidence.beyond}",
    )


def _learning_curves(evidence: Evidence) -> list[Html]:
    rows = [row for row in evidence.pictured if evidence.folds(row.candidate)]
    n_open = len(rows) if len(rows) <= FEW else OPEN
    rest = element("div", *_curves(evidence, rows[n_open:], SMALL_DPI), class_="multiples")
    return [
        element("h3", "Learning curves"),
        paragraph(
            "Above the loss, below the scores. Thin lines are folds, thick lines their mean, which only a complete "
            "candidate has. Training accuracy is the running mean over the epoch's batches with dropout on, "
            "so it is lower than after the epoch. All candidates share their scales; losses "
            f"beyond twice that of guessing are cut off.{evidence.beyond}"
        ),
        element("div", *_curves(evidence, rows[:n_open], DPI), class_="multiples"),
        details(f"The curves of the other {len(rows) - n_open} candidates", rest) if rows[n_open:] else Html(),
        paragraph("The diagnosis reads the mean curves at the last epoch:"),
        bullets(join(element("strong", name), ": ", meaning) for name, meaning in DIAGNOSES.items()),
    ]


def _curves(evidence: Evidence, rows: list[CandidateRow], dpi: int) -> list[Html]:
    losses = [loss for trial in evidence.trials.values() for loss in trial.train_loss + trial.val_loss]
    largest = max((loss for loss in losses if math.isfinite(loss)), default=1.0)
    # Guessing costs ln(emotions); room for a diverged first epoch would flatten everybody's curves.
    limit = min(1.05 * largest, 2 * math.log(max(2, len(evidence.emotions))))
    pictures = []
    for row in rows:
        folds, name = evidence.folds(row.candidate), evidence.names[row.candidate.id]
        done = f"{row.status}, {len(folds)} of {len(evidence.blocks)} folds"
        title = f"{name}: {row.diagnosis if row.status == 'complete' else done}"
        if row.candidate.id == evidence.winner:
            title = f"{name} (chosen): {row.diagnosis}"
        figure = figures.curves_figure(title, folds, evidence.metric, row.epochs, limit, evidence.validation_chance)
        caption = row.candidate.label if evidence.numbered else ""
        alt = f"Loss and scores by epoch of {title}"
        pictures.append(
            picture(evidence.folder.figures, f"curves-{row.candidate.id}", figure, alt, caption=caption, dpi=dpi)
        )
    return pictures
