import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from search_runs import FLAGS, command, facts_of, run_command, run_search, small_search, snapshot, trial_processes

from ser_tune.config import MethodConfig, SearchConfig, SelectionConfig, SpaceConfig, SplitConfig
from ser_tune.experiment import ExperimentFolder
from ser_tune.fold_search import Run, _Proposals, make_schedule
from ser_tune.sample import make_sample_corpora
from ser_tune.schedule import FIRST, Schedule

pytestmark = pytest.mark.ray

SPACE = SpaceConfig(lr=("log:1e-4..1e-1",), dropout=("0.1..0.5",), duration_s=(1.5, 2.0))
RACE = MethodConfig(method="optuna", candidates=7, concurrency=1, race_level=0.2)
RACE_FLAGS = [
    *("--search.method", "optuna", "--search.candidates", "7", "--search.concurrency", "1"),
    *("--search.race-level", "0.2", "--space.lr", "log:1e-4..1e-1", "--space.dropout", "0.1..0.5"),
    *("--space.duration-s", "1.5", "2.0"),
]
Raced = tuple[SearchConfig, ExperimentFolder]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fold-search")


@pytest.fixture(scope="module")
def sample(work: Path) -> Path:
    make_sample_corpora(work / "sample")
    return work / "sample"


@pytest.fixture(scope="module")
def raced(local_ray: None, sample: Path, work: Path) -> Raced:
    config = small_search(sample, work, "raced", space=SPACE, search=RACE)
    folder, _ = run_search(config)
    return config, folder


def decisions(folder: ExperimentFolder, kind: str) -> list[dict[str, Any]]:
    return [line for line in folder.read_decisions() if line["decision"] == kind]


def test_a_race_names_every_candidate_with_its_status_and_a_complete_one_wins(raced: Raced) -> None:
    _, folder = raced
    table = pd.read_csv(folder.candidates, dtype={"candidate": str}).set_index("candidate")
    proposed = [line["candidate"] for line in decisions(folder, "proposed")]
    assert list(table.index) == proposed
    assert len(proposed) == 7
    assert (table["status"][:FIRST] == "complete").all()
    assert set(table["status"]) == {"complete", "dropped"}
    winner = json.loads(folder.selection.read_text())["candidate"]
    assert table["status"][winner] == "complete"
    assert table["mean"][winner] == table["mean"].max()
    n_trials = len(folder.read_trials())
    assert n_trials == table["folds_done"].sum() < 21
    dropped = {line["candidate"]: line for line in decisions(folder, "dropped")}
    for name, row in table[table["status"] == "dropped"].iterrows():
        assert row["folds_done"] == dropped[str(name)]["folds_done"] < 3
        assert "points below candidate" in row["reason"]


def test_features_that_a_candidate_asks_for_are_extracted_and_the_bundle_has_the_winners(raced: Raced) -> None:
    config, folder = raced
    asked = {json.dumps(result.hyperparameters["duration_s"]) for result in folder.read_trials()}
    assert asked == {"1.5", "2.0"}
    caches = [path for path in config.cache_dir.iterdir() if (path / "manifest.json").exists()]
    assert len(caches) == 2
    bundle = json.loads((folder.bundle / "bundle.json").read_text())
    choice = json.loads(folder.selection.read_text())
    assert bundle["features"]["duration_s"] == choice["hyperparameters"]["duration_s"]
    assert bundle["model"]["dropout"] == choice["hyperparameters"]["dropout"]


def test_a_killed_race_decides_what_an_undisturbed_one_decides_to_the_bit(
    raced: Raced, sample: Path, work: Path
) -> None:
    import subprocess

    flags = ["--data-dir", str(sample), *FLAGS, *RACE_FLAGS, "--experiment", "killed-race"]
    folder = ExperimentFolder(work / "experiments" / "killed-race")
    process = subprocess.Popen(
        command(work, *flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(folder.read_trials()) < 9:  # in the middle of the race
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    survived = len(folder.read_trials())
    with folder.decisions.open("ab") as file:
        file.write(b'{"decision": "torn')
    done = run_command(work, *flags)
    assert done.returncode == 0, done.stderr
    assert f"going on: {survived} trials are finished already" in done.stderr
    assert facts_of(folder) == facts_of(raced[1])
    assert folder.read_decisions() == raced[1].read_decisions()


def test_a_finished_race_runs_nothing_and_more_candidates_run_alone(raced: Raced) -> None:
    config, folder = raced
    before, kept = snapshot(folder.root), folder.trials.read_text()
    _, said = run_search(config)
    assert snapshot(folder.root) == before
    assert "nothing had to be run" in said
    grown = replace(config, search=replace(RACE, candidates=9))
    run_search(grown)
    assert folder.trials.read_text().startswith(kept)
    assert len(decisions(folder, "proposed")) == 9
    old = {line["candidate"] for line in decisions(folder, "proposed")[:7]}
    lines = folder.trials.read_text()[len(kept) :].splitlines()
    assert not {json.loads(line)["candidate"] for line in lines} & old
    assert json.loads(folder.test.read_text())["evaluations"] == 1


def test_a_trial_given_up_leaves_its_candidate_incomplete_with_the_reason_and_the_search_goes_on(
    local_ray: None, sample: Path, work: Path
) -> None:
    folder = ExperimentFolder(work / "experiments" / "wounded")

    def kill_one_trial() -> None:
        while not (folder.tensorboard.exists() and list(folder.tensorboard.glob("*/fold-0/*"))):
            time.sleep(0.02)
        os.kill(trial_processes()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one_trial)
    killer.start()
    search = MethodConfig(retries=0, concurrency=1)
    config = small_search(sample, work, "wounded", search=search, splits=SplitConfig(folds=2))
    _, said = run_search(config)
    killer.join()
    table = pd.read_csv(folder.candidates).set_index("lr")
    assert table["status"].to_dict() == {0.001: "incomplete", 0.003: "complete"}
    assert "died" in table["reason"][0.001]
    assert pd.isna(table["mean"][0.001])
    assert json.loads(folder.selection.read_text())["hyperparameters"] == {"lr": 0.003}
    assert "lr=0.001 is incomplete and cannot be chosen" in said
    before = snapshot(folder.root)
    run_search(config)  # a finished experiment runs no trial
    assert snapshot(folder.root) == before


def test_repeats_run_the_folds_with_other_seeds_and_join_a_finished_search(
    local_ray: None, sample: Path, work: Path
) -> None:
    once = small_search(sample, work, "repeats", splits=SplitConfig(folds=2), selection=SelectionConfig(rule="one-se"))
    folder, _ = run_search(once)
    kept = folder.trials.read_text()
    twice = replace(once, search=MethodConfig(repeats=2), reopen_test=True)
    run_search(twice)
    assert folder.trials.read_text().startswith(kept)
    trials = folder.read_trials()
    assert len(trials) == 8
    starts = {(trial.fold, trial.repeat): trial.initial_weights_sha256 for trial in trials}
    assert len(set(starts.values())) == 4
    table = pd.read_csv(folder.candidates)
    assert list(table["folds_done"]) == [4, 4]
    choice = json.loads(folder.selection.read_text())
    curves = [trial.val_accuracy for trial in trials if trial.candidate == choice["candidate"]]
    assert choice["mean"] == pytest.approx(sum(curve[choice["epochs"] - 1] for curve in curves) / 4)


def test_a_candidate_that_a_grid_proposed_before_is_remembered_as_optunas_too(tmp_path: Path) -> None:
    folder, space = ExperimentFolder(tmp_path), SpaceConfig(lr=(0.01, 0.001))
    for method in (MethodConfig(), MethodConfig(method="optuna", candidates=2)):
        config = SearchConfig(space=space, search=method)
        assert not Schedule(_Proposals(config, folder, set()), [(0, 0)]).finished
    assert [line["method"] for line in decisions(folder, "proposed")] == ["grid", "grid", "optuna", "optuna"]
    preparation = SimpleNamespace(data_fingerprint="d")
    run = Run(config, folder, preparation, "float32", lambda: None, Console())  # type: ignore[arg-type]
    resumed = make_schedule(run)
    assert {candidate.hyperparameters["lr"] for candidate in resumed.candidates} == {0.01, 0.001}
