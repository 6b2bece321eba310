import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


def extract(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ser_tune.extract", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Six RAVDESS recordings, one of them broken, and a file that is no clip."""
    folder = tmp_path / "data" / "Actor_01"
    folder.mkdir(parents=True)
    for emotion in range(1, 7):
        noise = np.random.default_rng(emotion).uniform(-0.3, 0.3, 9000)
        soundfile.write(folder / f"03-01-0{emotion}-01-01-01-01.wav", noise, 16000)
    (folder / "03-01-02-01-01-01-01.wav").write_text("no audio")
    soundfile.write(folder / "other.wav", noise, 16000)
    return tmp_path / "data"


@pytest.mark.ray
def test_the_command_extracts_once_and_lists_what_it_cannot_read(data_dir: Path, tmp_path: Path) -> None:
    arguments = ("--data-dir", data_dir, "--cache-dir", tmp_path / "cache")
    first = extract(*arguments)
    assert first.returncode == 0, first.stderr
    assert "6 clips: 5 extracted, 0 already there, 1 unreadable; " in first.stdout
    assert "unreadable: " in first.stderr
    assert "03-01-02-01-01-01-01.wav: not decodable as audio" in first.stderr
    assert "1 other files" in first.stderr
    assert "extracting features: 6/6" in first.stderr
    again = extract(*arguments)
    assert again.returncode == 0
    assert "6 clips: nothing had to be extracted, 5 already there, 1 unreadable; " in again.stdout
    assert "extracting" not in again.stderr


def test_recordings_must_be_named(tmp_path: Path) -> None:
    ran = extract("--cache-dir", tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: --data-dir is not given; expected a folder with recordings")


def test_a_folder_without_recordings_is_one_clear_line(tmp_path: Path) -> None:
    ran = extract("--data-dir", tmp_path, "--cache-dir", tmp_path / "cache")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: no recording of a known corpus in {tmp_path}")
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()
