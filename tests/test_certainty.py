import math

import numpy as np
import pytest
from scipy import stats

from ser_tune.candidates import Candidate
from ser_tune.certainty import corrected_interval, difference, selection_record, table_row
from ser_tune.selection import CandidateSummary, choose


def summary(name: str, *scores: float, epochs: int = 3, status: str = "complete") -> CandidateSummary:
    candidate = Candidate(name, {"lr": float(len(name))})
    return CandidateSummary(candidate, len(scores), scores, epochs, status, "fine", "")


def test_the_interval_is_student_ts_with_the_variance_of_nadeau_and_bengio() -> None:
    scores = [0.61, 0.66, 0.58, 0.64, 0.60]
    # For a plain mean scipy gives the interval; the correction scales its width by sqrt(1 + J * n_test / n_train).
    plain = stats.t.interval(0.95, 4, loc=np.mean(scores), scale=stats.sem(scores))
    found = corrected_interval(scores, 5)
    assert found.mean == pytest.approx(np.mean(scores))
    assert found.high - found.mean == pytest.approx((plain[1] - np.mean(scores)) * math.sqrt(1 + 5 / 4))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_repeats_narrow_the_interval_but_never_below_what_shared_training_clips_allow() -> None:
    scores = [0.5, 0.6] * 500
    half = (corrected_interval(scores, 4).high - corrected_interval(scores, 4).low) / 2
    assert half > 1.96 * np.std(scores) * math.sqrt(1 / 3)
    assert math.isnan(corrected_interval([0.5], 4).low)


def test_differences_are_paired_fold_by_fold() -> None:
    one, other = summary("a", 0.5, 0.7, 0.9), summary("b", 0.4, 0.6, 0.8)
    found = difference(one, other, 3)
    assert [found.mean, found.low, found.high] == pytest.approx([0.1] * 3)
    assert math.isnan(difference(one, summary("c", status="dropped"), 3).mean)


def test_the_simplest_within_one_standard_error_wins_if_asked() -> None:
    best = summary("a", 0.70, 0.74, 0.78)  # standard error 0.0231
    near, small = summary("b", 0.71, 0.73, 0.75), summary("cc", 0.70, 0.72, 0.74, epochs=9)
    quick, far = summary("ddd", 0.70, 0.72, 0.74, epochs=2), summary("e", 0.5, 0.5, 0.5)
    sizes = {"a": 50, "b": 40, "cc": 10, "ddd": 10, "e": 1}
    everybody = [best, near, small, quick, far]
    assert choose(everybody, "best", sizes) is best
    assert choose(everybody, "one-se", sizes) is quick  # as small as cc, fewer epochs; e is out of reach
    assert choose([best, near, far], "one-se", sizes) is near
    assert choose([best, far], "one-se", sizes) is best
    record = selection_record(quick, everybody, "accuracy", "one-se", 3)
    assert "the simplest of 5 complete candidates within one standard error of the highest accuracy" in record["reason"]
    assert record["runner_up"]["candidate"] == "a"


def test_a_sentence_says_whether_the_winner_can_be_told_from_the_runner_up() -> None:
    winner, close, behind = summary("a", 0.7, 0.8, 0.75), summary("b", 0.74, 0.72, 0.75), summary("c", 0.3, 0.4, 0.35)
    told = selection_record(winner, [behind, winner], "uar", "best", 3)
    assert told["certainty"].startswith("It can be told from the runner-up, lr=1: +40.0 points [+40.0, +40.0]")
    vague = selection_record(winner, [behind, winner, close], "uar", "best", 3)
    assert vague["certainty"].startswith("It cannot be told from the runner-up")
    assert vague["runner_up"]["candidate"] == "b"
    low, high = vague["runner_up"]["interval"]
    assert low < vague["runner_up"]["difference"] < high
    assert "highest UAR of 3 complete candidates" in vague["reason"]
    alone = selection_record(winner, [winner, summary("d", status="dropped")], "uar", "best", 3)
    assert alone["runner_up"] is None
    assert "no other complete candidate" in alone["certainty"]


def test_the_table_tells_the_difference_to_the_winner_and_who_is_within_one_standard_error() -> None:
    winner, near, far = summary("a", 0.7, 0.8, 0.75), summary("b", 0.74, 0.72, 0.75), summary("c", 0.3, 0.4, 0.35)
    rows = [table_row(one, winner, winner, 3) for one in (winner, near, far, summary("d", status="dropped"))]
    assert [row["within_one_se"] for row in rows] == [True, True, False, ""]
    assert rows[1]["difference"] == pytest.approx((0.04 - 0.08 + 0.0) / 3)
    assert rows[1]["difference_low"] < rows[1]["difference"] < rows[1]["difference_high"]
    assert math.isnan(rows[3]["mean"])
    assert rows[0]["low"] < rows[0]["mean"] < rows[0]["high"]
