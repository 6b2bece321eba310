from pathlib import Path

import numpy as np
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
    assert [name for name, row in rows.items() if not row["error"]] == ["slow.wav", "good.wav"]
    assert [row["error"] == "" for row in rows.values()] == [row["features"] is not None for row in rows.values()]


def test_only_errors_of_the_content_itself_are_kept(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    rows = extract_rows([str(tmp_path / "text.wav"), str(tmp_path / "absent.wav")], SETTINGS)
    assert [row["size"] for row in rows] == [8, TRY_AGAIN]
