import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from ser_tune.config import FeatureConfig, ModelConfig
from ser_tune.dataset import Standardisation
from ser_tune.errors import RunError
from ser_tune.export import Bundle, save_bundle
from ser_tune.model import build_network
from ser_tune.predict import PredictConfig, describe_score_card, main

TEST = {"n": 2431, "accuracy": 0.617, "accuracy_interval": [0.598, 0.636], "uar": 0.6, "uar_interval": [0.5, 0.7]}
CARD = {"protocol": "utterance", "corpora": {"ravdess": 5, "tess": 7}, "synthetic": False, "test": TEST}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights beside recordings with awkward names, and things that are none."""
    folder = tmp_path_factory.mktemp("here")
    features, model = FeatureConfig(duration_s=1.0), ModelConfig(channels=(2, 2), hidden=(4, 4))
    standardisation = Standardisation(np.zeros(39, dtype=np.float32), np.full(39, 30, dtype=np.float32))
    torch.manual_seed(0)
    network = build_network(model, features.n_coefficients, features.n_frames, 2)
    save_bundle(folder / "bundle", Bundle(features, ("happy", "sad"), standardisation, model, CARD), network)
    noise = np.random.default_rng(0).normal(0, 0.1, 40000)
    for name in (b"two words.wav", b"new\nline.wav", "😀 [red].wav".encode(), b"not utf-8 \xff.wav"):
        soundfile.write(os.fsencode(folder) + b"/" + name, noise, 16000)
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    (folder / "text.wav").write_text("this is no sound")
    (folder / "empty.wav").touch()
    (folder / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    (folder / "folder.wav").mkdir()
    return folder


def _predict(folder: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ser_tune.predict", "--bundle", "bundle", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)


def test_json_lines_tell_of_every_file_and_one_that_works_is_a_success(folder: Path) -> None:
    good = ["two words.wav", "new\nline.wav", "😀 [red].wav", os.fsdecode(b"not utf-8 \xff.wav")]
    bad = {
        "silent.wav": "holds no sound: there is nothing to classify",
        "text.wav": "not decodable as audio",
        "empty.wav": "empty file",
        "pointer.wav": "Git-LFS pointer instead of audio: run 'git lfs pull' in its clone",
        "folder.wav": "cannot be opened (Is a directory)",
        "nowhere.wav": "cannot be opened (No such file or directory)",
    }
    done = _predict(folder, "--json", *bad, *map(os.fsencode, good))
    assert done.returncode == 0, done.stderr
    records: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[: len(bad)] == [{"path": path, "error": error} for path, error in bad.items()]
    assert [record["path"] for record in records[len(bad) :]] == good
    for record in records[len(bad) :]:
        assert list(record) == ["path", "emotion", "probabilities", "windows"]
        assert list(record["probabilities"]) == ["happy", "sad"]
        assert record["emotion"] == max(record["probabilities"], key=record["probabilities"].get)
        assert [(window["start_s"], window["end_s"]) for window in record["windows"]] == [(0, 1), (1, 2), (1.5, 2.5)]
        for emotion, probability in record["probabilities"].items():
            mean = np.mean([window["probabilities"][emotion] for window in record["windows"]])
            assert probability == pytest.approx(mean)
    assert done.stderr.startswith("tested: accuracy 0.62 [0.60, 0.64], UAR 0.60 [0.50, 0.70] on 2431 unseen clips")


def test_the_table_shows_awkward_names_on_one_line_on_any_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "120")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    names = ("new\nline.wav", "😀 [red].wav", os.fsdecode(b"not utf-8 \xff.wav"), "text.wav")
    main(PredictConfig(tuple(map(Path, names)), Path("bundle")))
    terminal.seek(0)
    table = terminal.read()
    for shown in ("new\\nline.wav", "\\U0001f600 [red].wav", "not utf-8 \\udcff.wav"):
        assert f"|{shown}" in table
        assert f"windows of {shown}\n" in table
    assert "1.50 to 2.50 s" in table
    assert capsys.readouterr().err.splitlines()[1:] == ["error: text.wav: not decodable as audio"]


def test_a_recording_of_one_window_gets_no_second_table(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    main(PredictConfig((tmp_path / "x.wav",), folder / "bundle"))
    table = capsys.readouterr().out
    assert "0.50 s" in table
    assert "windows of" not in table


def test_without_one_classified_recording_the_run_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = (folder / "empty.wav", folder / "silent.wav")
    with pytest.raises(RunError, match="no recording could be classified, of 2 named"):
        main(PredictConfig(files, folder / "bundle"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.rsplit(": ", 1)[1] for line in captured.err.splitlines()[1:]] == [
        "empty file",
        "there is nothing to classify",
    ]


def test_a_command_without_recordings_is_one_line(folder: Path) -> None:
    done = _predict(folder)
    assert done.returncode == 2
    assert done.stderr == "error: no recording named; expected one file or more: --bundle DIR FILE...\n"


def test_the_score_card_says_what_was_tested() -> None:
    line = describe_score_card(CARD)
    assert line == (
        "tested: accuracy 0.62 [0.60, 0.64], UAR 0.60 [0.50, 0.70] on 2431 unseen clips of known speakers, 2 corpora"
    )
    assert "clips of unseen speakers, 2 corpora" in describe_score_card(CARD | {"protocol": "speaker"})
    assert describe_score_card(CARD | {"synthetic": True}).endswith("of synthetic voices: tells nothing of real ones")


@pytest.mark.parametrize(
    "card",
    [
        {},
        CARD | {"test": None},
        CARD | {"test": []},
        CARD | {"protocol": ["x"]},
        CARD | {"test": TEST | {"n": "\x1b[2J"}},
        CARD | {"test": TEST | {"accuracy": "0.99"}},
        CARD | {"test": TEST | {"uar": float("nan")}},
        CARD | {"test": TEST | {"uar_interval": [0.1, 2.0]}},
        CARD | {"test": TEST | {"accuracy_interval": 3}},
    ],
)
def test_a_score_card_that_tells_nothing_is_not_believed(card: dict[str, Any]) -> None:
    assert describe_score_card(card) == "tested: not known; the bundle's score card does not tell"
