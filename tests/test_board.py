import io

import pytest
from experiment_fixture import make_results
from rich.console import Console

from ser_tune.board import Board
from ser_tune.candidates import Candidate
from ser_tune.experiment import TrialResult
from ser_tune.progress import progress_bar
from ser_tune.training import EpochScores
from ser_tune.trial import Trial


def trial_of(result: TrialResult) -> Trial:
    return Trial(Candidate(result.candidate, result.hyperparameters), result.fold, result.repeat, result.seed)


def board_of(results: list[TrialResult], console: Console) -> Board:
    candidates = list({result.candidate: trial_of(result).candidate for result in results}.values())
    return Board(console, candidates, 4, results[0].epochs, "uar")


def test_without_a_terminal_every_finished_trial_is_a_line() -> None:
    results = make_results()[:5]
    said = io.StringIO()
    board = board_of(make_results(), Console(file=said, width=60))
    board.show_finished({(result.candidate, result.fold): result for result in results[:2]})
    with board:
        for result in results[2:]:
            board.started(trial_of(result))
            board.finished(trial_of(result), result)
    lines = said.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("[3/16] lr=")
    assert f"UAR {results[2].val_uar[-1]:.3f}" in lines[0]


def test_on_a_terminal_the_board_shows_candidates_folds_epochs_scores_and_failures() -> None:
    results = make_results()
    shown = io.StringIO()
    board = board_of(results, Console(file=shown, width=100, force_terminal=True))
    with board:
        for result in results[:4]:
            board.started(trial_of(result))
            board.finished(trial_of(result), result)
        board.started(trial_of(results[4]))
        board.epoch(trial_of(results[4]), EpochScores(2, 1.0, 0.5, 1.0, 0.5, 0.4321, 0.5))
        board.failed(trial_of(results[5]), "CUDA out of memory")
    text = shown.getvalue()
    mean = sum(result.val_uar[-1] for result in results[:4]) / 4
    for part in ("fold 3", f"2/{results[0].epochs} 0.432", "failed", "CUDA out of memory", f"{mean:.3f}", "4 of 16"):
        assert part in text


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
