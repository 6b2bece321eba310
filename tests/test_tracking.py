import dataclasses
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_fixture import N_EPOCHS, N_FOLDS, SHAPES, make_manifest, make_results, make_test_scores, write_race
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from ser_tune.config import ModelConfig
from ser_tune.experiment import ExperimentFolder, TrialResult
from ser_tune.model import build_network
from ser_tune.tracking import TAGS, Tracker, run_name


def track(folder: Path, results: list[TrialResult]) -> None:
    """Record trials as a search does: every epoch but the last as it comes, then the result."""
    tracker = Tracker(folder)
    for result in results:
        tracker.start_trial(result.candidate, result.fold, result.repeat, result.hyperparameters)
        for epoch in range(1, result.epochs):
            values = {name: getattr(result, name)[epoch - 1] for name in TAGS}
            tracker.record_epoch(result.candidate, result.fold, result.repeat, epoch, values)
        tracker.finish_trial(result)
    tracker.close()


def curve(run: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run)).Reload()
    return [(scalar.step, scalar.value) for scalar in events.Scalars(tag)]


def expected_curve(values: list[float]) -> list[tuple[int, float]]:
    return [(step, float(np.float32(value))) for step, value in enumerate(values, start=1)]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def session_groups(folder: Path) -> dict[str, Any]:
    """What HPARAMS lists, asked of TensorBoard's own back end: group name -> group."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=100,
        aggregation_type=api_pb2.AGGREGATION_AVG,
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING],
    )
    handler = Handler(RequestContext(), Context(TBContext(data_provider=provider)), "", request)
    return {group.name: group for group in handler.run().session_groups}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment") / "tensorboard"
    track(folder, make_results())
    return folder


@pytest.fixture
def copy(tracked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tracked, tmp_path / "tensorboard"))


def test_every_curve_of_every_trial_is_in_its_run(tracked: Path) -> None:
    for result in make_results():
        run = tracked / f"lr={result.hyperparameters['lr']}" / f"fold-{result.fold}"
        for name, tag in TAGS.items():
            assert curve(run, tag) == expected_curve(getattr(result, name))


def test_the_logs_lie_in_one_event_file_per_trial_and_one_above_them(tracked: Path) -> None:
    assert len(list(tracked.rglob("events.*"))) == len(SHAPES) * N_FOLDS + 1


def test_hparams_shows_a_candidate_as_the_mean_of_its_folds(tracked: Path) -> None:
    groups = session_groups(tracked)
    results = make_results()
    assert groups.keys() == {result.candidate for result in results}
    for name, group in groups.items():
        folds = [result for result in results if result.candidate == name]
        values = {metric.name.tag: metric.value for metric in group.metric_values}
        assert len(group.sessions) == N_FOLDS
        assert group.hparams["lr"].number_value == folds[0].hyperparameters["lr"]
        assert values["uar/validation"] == pytest.approx(np.mean([fold.val_uar[-1] for fold in folds]))
        assert values["best/accuracy"] == pytest.approx(np.mean([max(fold.val_accuracy) for fold in folds]))


def test_sync_of_a_finished_experiment_changes_no_file(copy: Path) -> None:
    before = snapshot(copy)
    Tracker(copy).sync(make_results())
    assert snapshot(copy) == before


def test_sync_writes_the_logs_of_trials_that_were_never_tracked(tmp_path: Path) -> None:
    results = make_results()
    Tracker(tmp_path).sync(results)
    assert curve(tmp_path / "lr=0.001" / "fold-2", "loss/train") == expected_curve(results[10].train_loss)
    assert {len(group.sessions) for group in session_groups(tmp_path).values()} == {N_FOLDS}


def test_of_a_trial_that_finished_twice_the_first_counts(copy: Path) -> None:
    before = snapshot(copy)
    again = dataclasses.replace(make_results()[0], train_loss=[9.0] * N_EPOCHS)
    Tracker(copy).sync([*make_results(), again])
    assert snapshot(copy) == before


def cut(run: Path) -> None:
    file = next(run.glob("events.*"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def duplicate(run: Path) -> None:
    file = next(run.glob("events.*"))
    shutil.copy(file, file.with_name(file.name + ".1"))


@pytest.mark.parametrize("damage", [cut, duplicate, shutil.rmtree])
def test_sync_mends_a_damaged_run_and_touches_no_other(copy: Path, damage: Any) -> None:
    run = copy / "lr=0.005" / "fold-1"
    others = {name: state for name, state in snapshot(copy).items() if not name.startswith("lr=0.005/fold-1/")}
    damage(run)
    Tracker(copy).sync(make_results())
    assert curve(run, "accuracy/validation") == expected_curve(make_results()[5].val_accuracy)
    assert len(list(run.iterdir())) == 1
    assert others.items() <= snapshot(copy).items()


def test_sync_removes_runs_of_trials_that_did_not_finish(copy: Path) -> None:
    tracker = Tracker(copy)
    tracker.start_trial("another", 0, 0, {"lr": 0.3})
    tracker.record_epoch("another", 0, 0, 1, {"loss/train": 2.0})
    tracker.close()
    finished = make_results()[:-1]
    Tracker(copy).sync(finished)
    runs = {str(path.relative_to(copy)) for path in copy.glob("*/*")}
    assert runs == {run_name(result.hyperparameters, result.fold) for result in finished}
    assert not (copy / "lr=0.3").exists()


def test_a_trial_that_starts_again_keeps_nothing_of_its_first_attempt(tmp_path: Path) -> None:
    result = make_results()[0]
    tracker = Tracker(tmp_path)
    for loss in (9.0, result.train_loss[0]):
        tracker.start_trial(result.candidate, 0, 0, result.hyperparameters)
        tracker.record_epoch(result.candidate, 0, 0, 1, {"loss/train": loss})
    tracker.finish_trial(result)
    assert curve(tmp_path / "lr=0.01" / "fold-0", "loss/train") == expected_curve(result.train_loss)


def test_a_run_that_was_told_other_numbers_than_the_result_holds_the_result(tmp_path: Path) -> None:
    result = make_results()[0]
    tracker = Tracker(tmp_path)
    tracker.start_trial(result.candidate, 0, 0, result.hyperparameters)
    tracker.record_epoch(result.candidate, 0, 0, 1, {"train_loss": 9.0})
    tracker.finish_trial(result)
    assert curve(tmp_path / "lr=0.01" / "fold-0", "loss/train") == expected_curve(result.train_loss)


def test_losses_that_are_not_numbers_are_logged_and_left_alone(tmp_path: Path) -> None:
    diverged = dataclasses.replace(make_results()[0], val_loss=[math.nan] * N_EPOCHS, val_uar=[math.nan] * N_EPOCHS)
    track(tmp_path, [diverged])
    before = snapshot(tmp_path)
    Tracker(tmp_path).sync([diverged])
    assert snapshot(tmp_path) == before
    assert all(math.isnan(value) for _, value in curve(tmp_path / "lr=0.01" / "fold-0", "loss/validation"))


def test_a_new_hyperparameter_joins_those_that_hparams_knows(copy: Path) -> None:
    wider = [
        dataclasses.replace(result, candidate="wider", hyperparameters={"lr": 0.001, "loss": "published"})
        for result in make_results()[:N_FOLDS]
    ]
    Tracker(copy).sync([*make_results(), *wider])
    group = session_groups(copy)["wider"]
    assert group.hparams["loss"].string_value == "published"
    assert len(list(copy.glob("events.*"))) == 1
    before = snapshot(copy)
    Tracker(copy).sync([*make_results(), *wider])
    assert snapshot(copy) == before


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> ExperimentFolder:
    """A race of six candidates, tracked as it ran, with two repeats."""
    folder = write_race(tmp_path_factory.mktemp("race"), n_candidates=6, n_repeats=2)
    track(folder.tensorboard, folder.read_trials())
    return folder


def test_hparams_has_a_row_for_every_candidate_also_for_those_that_were_dropped(raced: ExperimentFolder) -> None:
    groups, results = session_groups(raced.tensorboard), raced.read_trials()
    assert any(line["decision"] == "dropped" for line in raced.read_decisions())
    assert {name: len(group.sessions) for name, group in groups.items()} == Counter(r.candidate for r in results)
    for name, group in groups.items():
        scores = [result.val_accuracy[-1] for result in results if result.candidate == name]
        values = {metric.name.tag: metric.value for metric in group.metric_values}
        assert values["accuracy/validation"] == pytest.approx(np.mean(scores))


def test_hparams_has_a_column_for_every_hyperparameter_words_with_what_they_may_be(raced: ExperimentFolder) -> None:
    results = raced.read_trials()
    file = next(raced.tensorboard.glob("events.*"))
    (event,) = [e for e in LegacyEventFileLoader(str(file)).Load() if e.summary.value]
    content = event.summary.value[0].metadata.plugin_data.content
    columns = {info.name: info for info in metadata.parse_experiment_plugin_data(content).hparam_infos}
    assert columns.keys() == results[0].hyperparameters.keys()
    optimizers = {result.hyperparameters["optimizer"] for result in results}
    assert {value.string_value for value in columns["optimizer"].domain_discrete.values} == optimizers
    assert columns["optimizer"].type == api_pb2.DATA_TYPE_STRING
    assert columns["lr"].differs
    groups = session_groups(raced.tensorboard)
    for result in results:
        shown = groups[result.candidate].hparams
        assert shown["optimizer"].string_value == result.hyperparameters["optimizer"]
        assert shown["channels"].number_value == result.hyperparameters["channels"]


def test_sync_of_a_finished_race_changes_no_file(raced: ExperimentFolder) -> None:
    before = snapshot(raced.tensorboard)
    Tracker(raced.tensorboard).sync(raced.read_trials())
    assert snapshot(raced.tensorboard) == before


def test_a_trial_that_is_stopped_leaves_no_run(copy: Path) -> None:
    tracker = Tracker(copy)
    before = {path for path in copy.rglob("*") if path.is_dir()}
    tracker.start_trial("dropped", 0, 0, {"lr": 0.3})
    tracker.record_epoch("dropped", 0, 0, 1, {"loss/train": 2.0})
    tracker.stop_trial("dropped", 0, 0)
    tracker.stop_trial("never started", 0, 0)
    assert {path for path in copy.rglob("*") if path.is_dir()} == before


def test_names_of_runs_are_short_enough_for_a_folder_and_do_not_meet() -> None:
    names = {run_name({**{f"hyperparameter_{n}": 0.1 for n in range(20)}, "last": last}, 0) for last in (1, 2)}
    assert len(names) == 2
    assert max(map(len, names)) < 255


def test_runs_of_candidates_that_differ_in_the_last_digit_do_not_meet() -> None:
    names = {run_name({"lr": lr}, 0) for lr in (0.1, math.nextafter(0.1, 1))}
    assert len(names) == 2
    assert run_name({"lr": 1e-05, "level": "a/b c"}, 3, repeat=1) == "lr=1e-05,level=a_b_c/fold-3-repeat-1"


def test_the_final_run_shows_curves_confusion_graph_and_scores_and_is_written_once(tmp_path: Path) -> None:
    test = make_test_scores(make_manifest("utterance"), "utterance")
    network = build_network(ModelConfig(), 39, 94, len(test["emotions"]))
    curves = {"train_loss": [2.0, 1.5], "train_accuracy": [0.2, 0.4], "val_loss": [math.nan, math.nan]}
    final = (network, torch.zeros(1, 39, 94), test["confusion"], test["emotions"], curves)
    Tracker(tmp_path).record_final(*final)
    events = EventAccumulator(str(tmp_path / "final")).Reload()
    tags = events.Tags()
    assert curve(tmp_path / "final", "loss/train") == [(1, 2.0), (2, 1.5)]
    assert set(tags["scalars"]) == {"loss/train", "accuracy/train"}
    assert tags["images"] == ["test/confusion"]
    assert tags["graph"]
    scores = events.Tensors("test/scores/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f"accuracy {test['accuracy']:.1%}, UAR {test['uar']:.1%}, macro F1 {test['macro_f1']:.1%}" in scores
    before = snapshot(tmp_path)
    Tracker(tmp_path).record_final(*final)
    assert snapshot(tmp_path) == before
