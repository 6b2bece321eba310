import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tune.config import FeatureConfig
from ser_tune.features import extract_features, prepare
from ser_tune.rows import TRY_AGAIN, extract_rows

SETTINGS = FeatureConfig(duration_s=0.5, level="none")


def record(path: Path, seed: int, scale: float = 0.3) -> str:
    samples = scale * np.random.default_rng(seed).uniform(-1, 1, (9000, 1))
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    return str(path)


def test_rows_keep_the_order_and_equal_the_features_of_each_recording_alone(tmp_path: Path) -> None:
    paths = [record(tmp_path / f"{seed}.wav", seed) for seed in range(20)]
    rows = extract_rows(paths, SETTINGS)
    assert [row["path"] for row in rows] == paths
    for row, path in zip(rows, paths, strict=True):
        waveform, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
        clip = prepare(waveform, sample_rate, SETTINGS)
        features = row["features"].reshape(row["n_coefficients"], row["n_frames"])
        np.testing.assert_array_equal(features, extract_features(clip[None], SETTINGS)[0])
        assert row["duration_s"] == 9000 / 16000
        assert row["error"] == ""


def test_a_recording_that_cannot_be_used_costs_none_beside_it(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "huge.wav", np.full((9000, 1), 3e38), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "slow.wav", np.ones((50, 1)), 1)
    names = ["text.wav", "huge.wav", "absent.wav", "nul\0.wav", "slow.wav"]
    paths = [str(tmp_path / name) for name in names] + [record(tmp_path / "good.wav", 0)]
    rows = {Path(row["path"]).name: row for row in extract_rows(paths, SETTINGS)}
    assert rows["text.wav"]["error"] == "not decodable as audio"
    assert rows["huge.wav"]["error"].endswith("times full scale")
    assert "No such file" in rows["absent.wav"]["error"]
    assert rows["nul\0.wav"]["error"]
    assert rows["slow.wav"]["error"] == "claims 1 samples a second; expected 1000 to 1000000"
    assert [name for name, row in rows.items() if not row["error"]] == ["good.wav"]
    assert [row["error"] == "" for row in rows.values()] == [row["features"] is not None for row in rows.values()]


@pytest.mark.parametrize("trim_db", [0.0, 30.0])
def test_a_long_recording_costs_no_memory(tmp_path: Path, trim_db: float) -> None:
    minutes, features = 13, replace(SETTINGS, trim_db=trim_db)
    noise = 0.3 * np.random.default_rng(0).uniform(-1, 1, 16000)
    samples = np.concatenate([np.zeros(16000), *[noise] * (60 * minutes), np.zeros(16000)])
    soundfile.write(tmp_path / "long.flac", samples, 16000)
    extract_rows([str(tmp_path / "long.flac")], features)
    tracemalloc.start()
    (row,) = extract_rows([str(tmp_path / "long.flac")], features)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    waveform = soundfile.read(tmp_path / "long.flac", dtype="float32", always_2d=True)[0]
    assert row["duration_s"] == 60 * minutes + 2
    assert peak < waveform.nbytes / 2
    clip = prepare(waveform, 16000, features)
    np.testing.assert_array_equal(row["features"], extract_features(clip[None], features)[0].ravel())


def test_only_errors_of_the_content_itself_are_kept(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    rows = extract_rows([str(tmp_path / "text.wav"), str(tmp_path / "absent.wav")], SETTINGS)
    assert [row["size"] for row in rows] == [8, TRY_AGAIN]
