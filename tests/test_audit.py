import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tune.audit import main
from ser_tune.config import AuditConfig, DataConfig
from ser_tune.errors import InputError


def audit(data_dir: Path, *, keep_everything: bool = False, list_all: bool = False) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(AuditConfig(DataConfig(data_dir=data_dir, keep_everything=keep_everything), list_all=list_all))
    return printed.getvalue()


def record(path: Path, seed: int, sample_rate: int = 16000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.3, 0.3, (sample_rate, channels)), sample_rate)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    record(folder / "Actor_01/03-01-05-01-01-01-01.wav", 1, 48000, 2)
    record(folder / "Actor_01/03-01-04-01-01-01-01.wav", 2, 48000)
    record(folder / "mirror/Actor_01/03-01-04-01-01-01-01.wav", 2, 48000)
    record(folder / "Crema/1001_TIE_HAP_XX.wav", 3)
    record(folder / "Crema/1001_TIE_NEU_XX.wav", 3)
    record(folder / "Crema/1001_IEO_SAD_LO.wav", 4)
    soundfile.write(folder / "Crema/1001_MTI_SAD_XX.wav", np.zeros(16000), 16000)
    (folder / "Crema/1001_DFA_ANG_XX.wav").touch()
    (folder / "Crema/1001_DFA_SAD_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "Crema/1001_DFA_FEA_XX.wav").write_text("no audio")
    record(folder / "Crema/my [take].wav", 5)
    return folder


@pytest.fixture(scope="module")
def printed(data_dir: Path) -> str:
    return audit(data_dir)


def rows(printed: str, title: str) -> dict[str, list[str]]:
    """The rows of one table by their first word."""
    lines = printed.split(f"{title} ", 1)[1].split("\n\n")[0].splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_counts_are_set_against_those_of_the_complete_corpora(printed: str) -> None:
    assert rows(printed, "Corpora") == {
        "ravdess": ["3", "1440", "2", "1", "1437", "missing"],
        "crema-d": ["7", "7442", "1", "1", "7435", "missing"],
        "all": ["10", "3", "2"],
    }


def test_emotions_and_audio_are_told_by_corpus(printed: str) -> None:
    assert rows(printed, "Emotions of the clips found") == {
        "ravdess": list("00021000"),
        "crema-d": list("10131100"),
    }
    assert rows(printed, "Audio")["ravdess"] == [*(3 * ["1.00", "s"]), "0.00", "h", "48000", "(3)", "1"]


@pytest.mark.parametrize(
    ("check", "count"),
    [
        ("same audio again", 1),
        ("same audio, other emotion", 2),
        ("no sound", 1),
        ("empty files", 1),
        ("Git-LFS pointers", 1),
        ("unreadable otherwise", 1),
        ("none of the eight emotions", 0),
        ("no recording of a corpus", 1),
    ],
)
def test_every_check_has_its_count(printed: str, check: str, count: int) -> None:
    line = next(line for line in printed.splitlines() if line.startswith(check + " "))
    assert line.removeprefix(check).split() == [str(count)]


def test_each_recording_left_out_is_listed_with_its_reason(printed: str, data_dir: Path) -> None:
    assert f"  {data_dir}/Crema/1001_DFA_ANG_XX.wav: empty file\n" in printed
    assert f"  {data_dir}/Crema/my [take].wav: no known corpus names its files so" in printed
    assert f"{data_dir}/mirror/Actor_01/03-01-04-01-01-01-01.wav: same audio as {data_dir}/Actor_01/" in printed
    assert printed.endswith("3 recordings are usable, 8 files are left out\n")


def test_tables_fit_into_80_columns(printed: str, data_dir: Path) -> None:
    assert all(len(line) <= 80 for line in printed.splitlines() if str(data_dir) not in line)


def test_what_would_be_kept_is_still_told_of(data_dir: Path) -> None:
    printed = audit(data_dir, keep_everything=True)
    assert printed.endswith("7 recordings are usable, 4 files are left out\n")
    assert "same audio, other emotion       2\n" in printed.replace(" \n", "\n")


def test_long_lists_are_cut_unless_all_is_asked_for(tmp_path: Path) -> None:
    record(tmp_path / "OAF_back_sad.wav", 1)
    for n in range(25):
        (tmp_path / f"take {n}.wav").touch()
    assert "  and 5 more; --all lists them\n" in audit(tmp_path)
    whole = audit(tmp_path, list_all=True)
    assert whole.count("no known corpus") == 25
    assert "more; --all" not in whole


def test_one_emotion_alone_is_audited_like_any(tmp_path: Path) -> None:
    record(tmp_path / "OAF_back_sad.wav", 1)
    assert audit(tmp_path).endswith("1 recordings are usable, 0 files are left out\n")


def test_synthetic_corpora_are_called_so(tmp_path: Path) -> None:
    record(tmp_path / "OAF_back_sad.wav", 1)
    (tmp_path / ".synthetic").touch()
    assert audit(tmp_path).startswith("These corpora are synthetic")


def test_nothing_usable_ends_with_status_2_and_one_line_below_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no usable recording in .* \(no other audio file is there\)"):
        audit(tmp_path)
    (tmp_path / "OAF_back_sad.wav").touch()
    command = [sys.executable, "-m", "ser_tune.audit", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no usable recording in ")
    assert done.stderr.count("\n") == 1
    assert "OAF_back_sad.wav: empty file" in done.stdout


def test_a_folder_must_be_named() -> None:
    with pytest.raises(InputError, match="--data-dir is not given"):
        AuditConfig()
