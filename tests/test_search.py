import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from search_runs import FLAGS, facts_of, run_command, run_search, small_search, snapshot

from ser_tune.config import ComputeConfig, SearchConfig, SpaceConfig, SplitConfig
from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder
from ser_tune.export import load_bundle
from ser_tune.preparation import prepare
from ser_tune.sample import make_sample_corpora

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def sample(work: Path) -> Path:
    make_sample_corpora(work / "sample")
    return work / "sample"


@pytest.fixture(scope="module")
def finished(local_ray: None, sample: Path, work: Path) -> tuple[SearchConfig, ExperimentFolder]:
    """An undisturbed search; tests must not change it."""
    config = small_search(sample, work)
    folder, _ = run_search(config)
    return config, folder


Finished = tuple[SearchConfig, ExperimentFolder]


def test_a_search_fills_the_folder_as_the_contract_says(finished: Finished) -> None:
    _, folder = finished
    manifest = pd.read_parquet(folder.manifest)
    assert list(manifest) == [
        "clip_id", "corpus", "speaker", "emotion", "text", "path",
        "duration_s", "sample_rate", "sha256", "split", "fold",
    ]  # fmt: skip
    assert manifest["fold"].isna().equals(manifest["split"] == "test")
    assert list(pd.read_parquet(folder.excluded)) == ["path", "corpus", "reason"]
    trials = [json.loads(line) for line in folder.trials.read_text().splitlines()]
    assert {(trial["candidate"], trial["fold"]) for trial in trials} == {
        (candidate, fold) for candidate in pd.read_csv(folder.candidates)["candidate"] for fold in range(3)
    }
    for trial in trials:
        assert {len(trial[f"val_{name}"]) for name in ("loss", "accuracy", "uar", "macro_f1")} == {3}
    test = json.loads(folder.test.read_text())
    assert test["n"] == int((manifest["split"] == "test").sum()) == np.sum(test["confusion"])
    assert test["evaluations"] == 1
    for metric in ("accuracy", "uar", "macro_f1"):
        low, high = test[f"{metric}_interval"]
        assert low <= test[metric] <= high
    record = json.loads(folder.config.read_text())
    assert record["data_fingerprint"] == trials[0]["data_fingerprint"]
    assert record["config"]["training"]["epochs"] == 3
    assert folder.report.stat().st_size > 50_000
    assert any(folder.tensorboard.glob("lr=0.001/fold-0/events*"))


def test_the_choice_follows_from_the_lines_of_trials_jsonl(finished: Finished) -> None:
    _, folder = finished
    curves: dict[str, list[list[float]]] = {}
    for line in folder.trials.read_text().splitlines():
        trial = json.loads(line)
        curves.setdefault(trial["candidate"], []).append(trial["val_accuracy"])
    means = {candidate: np.mean(folds, axis=0) for candidate, folds in curves.items()}
    best = max(means, key=lambda candidate: means[candidate].max())
    selection = json.loads(folder.selection.read_text())
    assert selection["candidate"] == best
    assert selection["epochs"] == int(means[best].argmax()) + 1
    assert selection["mean"] == pytest.approx(means[best].max())


def test_all_trials_of_a_fold_start_from_the_same_fresh_weights(finished: Finished) -> None:
    _, folder = finished
    starts: dict[int, set[str]] = {}
    for result in folder.read_trials():
        starts.setdefault(result.fold, set()).add(result.initial_weights_sha256)
    assert [len(weights) for weights in starts.values()] == [1, 1, 1]
    assert len(set.union(*starts.values())) == 3


def test_the_bundle_gives_the_test_scores_of_test_json(finished: Finished) -> None:
    config, folder = finished
    from ser_tune.sharing import load_clips
    from ser_tune.training import predict_logits

    bundle, network = load_bundle(folder.bundle)
    preparation = prepare(config, lambda: None)
    test = load_clips(preparation.rows("test"), preparation.cache, config.data.emotions)
    hits = predict_logits(network, bundle.standardisation, test).argmax(1).numpy() == test.part_labels
    assert hits.mean() == pytest.approx(json.loads(folder.test.read_text())["accuracy"])


def test_a_finished_experiment_is_not_changed_by_running_it_again(finished: Finished) -> None:
    config, folder = finished
    before = snapshot(folder.root)
    _, said = run_search(config)
    assert "nothing had to be run" in said
    assert snapshot(folder.root) == before


def test_a_line_lost_from_a_finished_experiment_is_that_trial_run_again_and_said(finished: Finished) -> None:
    config, folder = finished
    import shutil

    copy = ExperimentFolder(config.experiments_dir / "torn")
    shutil.copytree(folder.root, copy.root)
    copy.trials.write_bytes(copy.trials.read_bytes()[:-100])
    _, said = run_search(replace(config, experiment="torn"))
    assert "going on: 5 of 6 trials are finished already" in said
    assert "nothing had to be run" not in said
    assert facts_of(copy) == facts_of(folder)


def test_another_identity_under_the_same_name_is_refused(finished: Finished) -> None:
    config, folder = finished
    before = snapshot(folder.root)
    other = replace(config, splits=SplitConfig(folds=4), seed=5)
    with pytest.raises(InputError, match=r"another experiment \(seed: 0 there, 5 now; splits.folds: 3 there, 4 now\)"):
        run_search(other)
    with pytest.raises(InputError, match="its recordings or their labels differ"):
        run_search(replace(config, data=replace(config.data, corpora=("ravdess",))))
    assert snapshot(folder.root) == before


def test_the_precision_is_that_with_which_the_experiment_was_begun(finished: Finished) -> None:
    config, folder = finished
    assert {trial.precision for trial in folder.read_trials()} == {"float32"}
    _, said = run_search(replace(config, training=replace(config.training, precision="auto")))
    assert "precision: float32 (as the experiment was begun)" in said
    with pytest.raises(
        InputError, match=r"--training.precision is bfloat16; expected float32, which .* was begun with"
    ):
        run_search(replace(config, training=replace(config.training, precision="bfloat16")))


def test_an_added_candidate_runs_alone_and_cannot_open_the_test_split_again(
    local_ray: None, sample: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = small_search(sample, work, "grown", space=SpaceConfig(lr=(1e-6,)), splits=SplitConfig(folds=2))
    folder, _ = run_search(first)
    kept, before = folder.trials.read_text(), snapshot(folder.root)
    grown = replace(first, space=SpaceConfig(lr=(0.003, 1e-6)))
    capsys.readouterr()
    run_search(grown)
    assert "Test        not opened again: it was already looked at by candidate" in capsys.readouterr().out
    assert snapshot(folder.root)["test.json"] == before["test.json"]
    assert folder.trials.read_text().startswith(kept)
    assert len(folder.read_trials()) == 4
    bundle, _ = load_bundle(folder.bundle)  # the new winner is refitted and exported, untested
    assert bundle.score_card["hyperparameters"] == {"lr": 0.003}
    assert bundle.score_card["test"] is None
    assert "It was refitted and exported, but not tested." in folder.report.read_text()
    before = snapshot(folder.root)
    run_search(grown)
    assert snapshot(folder.root) == before
    run_search(replace(grown, reopen_test=True))
    test = json.loads(folder.test.read_text())
    assert test["evaluations"] == len(set(test["weights_sha256"])) == 2
    assert test["candidate"] == json.loads(folder.selection.read_text())["candidate"]
    assert list(pd.read_csv(folder.candidates)["lr"]) == [1e-6, 0.003]  # who came earlier stays earlier
    assert json.loads(folder.config.read_text())["config"]["space"]["lr"] == [0.003, 1e-6]
    before = snapshot(folder.root)
    run_search(grown)
    assert snapshot(folder.root) == before


def test_a_kill_between_the_look_and_its_export_is_the_same_look(finished: Finished, work: Path) -> None:
    config, folder = finished
    import shutil

    copy = ExperimentFolder(config.experiments_dir / "killed")
    shutil.copytree(folder.root, copy.root)
    (copy.bundle / "bundle.json").unlink()  # refitted and tested, the bundle's second file lost
    copy.selection.write_bytes(b"\xff\0")  # and a damaged disk
    copy.report.unlink()
    run_search(replace(config, experiment="killed"))
    test = json.loads(copy.test.read_text())
    assert test["evaluations"] == 1
    assert (copy.bundle / "model.safetensors").read_bytes() == (folder.bundle / "model.safetensors").read_bytes()
    assert copy.selection.read_bytes() == folder.selection.read_bytes()
    assert copy.report.exists()


def test_speakers_are_kept_apart_under_the_speaker_protocol(local_ray: None, sample: Path, work: Path) -> None:
    config = small_search(sample, work, "speakers", space=SpaceConfig(lr=(0.001,)))
    measured = replace(config.training, precision="auto")
    folder, said = run_search(replace(config, splits=SplitConfig(protocol="speaker", folds=2), training=measured))
    precision = json.loads(folder.config.read_text())["precision"]
    assert f"precision: {precision} (clips per second: float32 " in said
    assert {trial.precision for trial in folder.read_trials()} == {precision}
    manifest = pd.read_parquet(folder.manifest)
    sides = manifest["fold"].fillna(-1).groupby(manifest["speaker"]).nunique()
    assert (sides == 1).all()
    tested = manifest[manifest["split"] == "test"]
    assert set(tested["corpus"]) == {"ravdess", "tess"}
    test = json.loads(folder.test.read_text())
    assert (test["interval_unit"], test["n_interval_units"]) == ("speakers", tested["speaker"].nunique())


def test_unusable_recordings_are_left_out_named_and_counted(local_ray: None, sample: Path, work: Path) -> None:
    import shutil

    spoilt = work / "spoilt"
    shutil.copytree(next(sample.rglob("Actor_01")).parent, spoilt)
    good = next(spoilt.rglob("03-01-05-01-01-01-01.wav"))
    bad = {
        "03-01-01-01-01-01-09.wav": (b"RIFF" + good.read_bytes()[40:4000], "not decodable"),
        "03-01-01-01-01-01-10.wav": (b"this is a text file\n" * 20, "not decodable"),
        "03-01-01-01-01-01-11.wav": (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
        "03-01-01-01-01-01-12.wav": (b"", "empty file"),
    }
    for name, (content, _) in bad.items():
        (good.parent / name).write_bytes(content)
    (good.parent / "my_holiday.wav").write_bytes(good.read_bytes())
    config = small_search(spoilt, work, "spoilt", space=SpaceConfig(lr=(0.001,)))
    config = replace(config, data=replace(config.data, corpora=None), splits=SplitConfig(folds=2))
    preparation = prepare(config, lambda: None)
    excluded = preparation.excluded
    reasons = {Path(path).name: reason for path, reason in zip(excluded["path"], excluded["reason"], strict=True)}
    for name, (_, reason) in bad.items():
        assert reason in reasons[name]
    assert "my_holiday.wav" in reasons
    assert re.search(r"left out: .*4 unreadable", " ".join(preparation.introduction()))


# As a user types it


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--space.lr", "nan"], "--space.lr is nan; expected"),
        (["--space.lr"], "--space.lr is empty; expected"),
        (["--training.epoch", "3"], "did you mean --training.epochs?"),
        (["--data-dir", "no-such-folder"], "no-such-folder"),
        (["--experiment", "../elsewhere"], "--experiment is '../elsewhere'; expected"),
        (["--experiments-dir", "/dev/null"], "/dev/null/default cannot be written (Not a directory)"),
        (["--emotions", "sad"], "--emotions is sad; expected two or more"),
    ],
)
def test_a_mistyped_command_gets_one_line_and_exit_status_2(tmp_path: Path, flags: list[str], expected: str) -> None:
    done = run_command(tmp_path, *flags)
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def tone(path: Path, frequency_hz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(16000) * frequency_hz * 2 * np.pi / 16000) * 0.5, 16000)


def test_folders_that_cannot_carry_a_search_are_refused(local_ray: None, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for number in range(24):
        emotion = ("ANG", "SAD")[number % 2]
        sentence, level = ("DFA", "IEO", "ITS")[number // 2 % 3], ("LO", "HI")[number // 6 % 2]
        tone(tmp_path / "few" / f"100{number // 12}_{sentence}_{emotion}_{level}.wav", 90.0 + number)
    for folder, expected in [
        ("empty", "no usable recording in .*empty"),
        ("few", "speakers"),
    ]:
        config = small_search(tmp_path / folder, tmp_path)
        config = replace(config, splits=SplitConfig(protocol="speaker"), data=replace(config.data, corpora=None))
        with pytest.raises(InputError, match=expected) as error:
            run_search(config)
        assert error.value.exit_status == 2


GUEST = """
import sys, time
from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig

with connect(ComputeConfig(address=sys.argv[1]), "Run it again."):
    print("joined", flush=True)
    time.sleep(600)
"""


def test_a_search_runs_on_a_cluster_of_two_nodes_whose_loss_is_a_line(
    finished: Finished, sample: Path, work: Path
) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        flags = ["--data-dir", str(sample), *FLAGS, "--space.lr", "0.001", "0.003", "--experiment", "cluster"]
        environment = {**os.environ, "RAY_ADDRESS": cluster.address}
        done = run_command(work, *flags, "--compute.address", "auto", env=environment)
        joined = [sys.executable, "-c", GUEST, cluster.address]
        guest = subprocess.Popen(joined, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert guest.stdout is not None
        assert guest.stdout.readline() == "joined\n"
    finally:
        cluster.shutdown()
    assert re.search(r"error: the Ray cluster was lost: \S+ does not answer .* Run it again", guest.communicate()[1])
    assert guest.returncode == 1
    assert done.returncode == 0, done.stderr
    assert facts_of(ExperimentFolder(work / "experiments" / "cluster")) == facts_of(finished[1])


def test_compute_settings_do_not_make_another_experiment(finished: Finished) -> None:
    config, folder = finished
    before = snapshot(folder.root)
    run_search(replace(config, compute=ComputeConfig(cpus_per_trial=2)))
    assert snapshot(folder.root) == before
