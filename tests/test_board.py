import io
from collections.abc import Sequence

import pytest
from experiment_fixture import make_results
from rich.console import Console

from ser_tune.board import Board
from ser_tune.candidates import Candidate
from ser_tune.experiment import TrialResult
from ser_tune.progress import progress_bar
from ser_tune.race import Drop, list_blocks
from ser_tune.schedule import Schedule
from ser_tune.training import EpochScores
from ser_tune.trial import Trial


def trial_of(result: TrialResult) -> Trial:
    return Trial(Candidate(result.candidate, result.hyperparameters), result.fold, result.repeat, result.seed)


def schedule_of(results: Sequence[TrialResult]) -> Schedule:
    candidates = list({result.candidate: trial_of(result).candidate for result in results}.values())
    return Schedule(lambda _schedule: None, list_blocks(4, 1), candidates=candidates, level=0.01)


def run(board: Board, result: TrialResult) -> None:
    board.started(trial_of(result))
    board.schedule.end(result.key, curve=result.val_uar)
    board.finished(trial_of(result), result)


def test_without_a_terminal_every_finished_trial_and_every_drop_is_a_line() -> None:
    results = make_results()
    said = io.StringIO()
    board = Board(Console(file=said, width=60), schedule_of(results), 4, results[0].epochs, "uar")
    board.show_finished({result.key: result for result in results[:2]})
    with board:
        run(board, results[2])
        board.schedule.dropped[results[4].candidate] = Drop(results[0].candidate, 1, -0.123, -0.045)
        run(board, results[3])
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("[3/16] lr=")
    assert f"UAR {results[2].val_uar[-1]:.3f}" in lines[0]
    assert lines[1].startswith("[4/12] lr=")  # the four trials of the dropped candidate need not run
    assert "dropped: 12.3 points below candidate" in lines[2]
    assert "on 1 fold, and over all folds at least 4.5 points below it are expected" in lines[2]
    assert len(lines) == 3


def test_a_trial_that_starts_again_is_a_line() -> None:
    results = make_results()
    said = io.StringIO()
    board = Board(Console(file=said), schedule_of(results), 4, 3, "uar")
    board.started(trial_of(results[0]))
    board.retried(trial_of(results[0]), "The actor died")
    assert "fold 0: starts again: The actor died; " in said.getvalue()


def test_on_a_terminal_the_board_shows_candidates_folds_epochs_scores_and_failures() -> None:
    results = make_results()
    shown = io.StringIO()
    console = Console(file=shown, width=120, height=30, force_terminal=True)
    board = Board(console, schedule_of(results), 4, results[0].epochs, "uar")
    with board:
        for result in results[:4]:
            run(board, result)
        board.started(trial_of(results[4]))
        board.epoch(trial_of(results[4]), EpochScores(2, 1.0, 0.5, 1.0, 0.5, 0.4321, 0.5))
        board.schedule.end(results[5].key, failure="CUDA out of memory")
        board.failed(trial_of(results[5]), "CUDA out of memory")
        board.stopped(trial_of(results[8]))
        board.schedule.dropped[results[8].candidate] = Drop(results[0].candidate, 2, -0.2, -0.1)
    text = shown.getvalue()
    for part in ("fold 3", f"2/{results[0].epochs} 0.432", "failed", "CUDA out of memory", "4 of", "stopped"):
        assert part in text
    assert "dropped after 2 folds: -20.0" in text


def test_candidates_that_are_ahead_come_first_and_dropped_ones_last() -> None:
    results = make_results()
    first, second, third, fourth = dict.fromkeys(result.candidate for result in results)
    schedule = schedule_of(results)
    for name, level in ((first, 0.9), (second, 0.3), (third, 0.5)):
        schedule.end((name, 0, 0), curve=[level])
    schedule.dropped[first] = Drop(third, 1, -0.1, -0.1)
    shown = io.StringIO()
    board = Board(Console(file=shown, width=120, height=30, force_terminal=True), schedule, 4, 3, "accuracy")
    board.console.print(board._table())
    labels = {candidate.id: candidate.label for candidate in schedule.candidates}
    places = [shown.getvalue().index(f" {labels[name]} ") for name in (third, second, fourth, first)]
    assert places == sorted(places)


def test_more_candidates_than_the_window_is_high_are_counted() -> None:
    candidates = [Candidate(str(number), {"lr": number / 100}) for number in range(1, 41)]
    schedule = Schedule(lambda _schedule: None, list_blocks(4, 3), candidates=candidates)
    shown = io.StringIO()
    board = Board(Console(file=shown, width=80, height=24, force_terminal=True), schedule, 40, 3, "accuracy")
    board.console.print(board._table())
    assert "and 25 more candidates" in shown.getvalue()
    assert "0 of 12" in shown.getvalue()  # folds are counted where they are too many for columns


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_only_once_there_is_work(terminal: bool) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=100, force_terminal=terminal)
    with progress_bar(console, "extracting features"):
        pass
    assert "extracting" not in shown.getvalue()
    with progress_bar(console, "extracting features", quiet_s=0) as progress:
        for done in range(101):
            progress(done, 100)
    assert "100/100" in shown.getvalue()
    if not terminal:
        assert len(shown.getvalue().splitlines()) == 11
