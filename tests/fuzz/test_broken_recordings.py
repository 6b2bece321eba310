"""A few hundred of the broken recordings that broken_recordings.py makes thousands of; quick, without Ray."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from mutations import KINDS, broken

from ser_tune.audio import probe
from ser_tune.config import EMOTIONS, FeatureConfig, ModelConfig
from ser_tune.dataset import Standardisation
from ser_tune.errors import AudioError
from ser_tune.export import Bundle
from ser_tune.features import extract_features
from ser_tune.inference import classify
from ser_tune.model import EmotionNetwork, build_network
from ser_tune.rows import extract_rows

N_OF_A_KIND = 40
FEATURES = FeatureConfig(sample_rate=8000, duration_s=0.5, n_mfcc=4, n_fft=1024, hop_length=256)
MOST_BYTES = 100 * 2**20  # a block of decoded samples has 16 MiB at most, and is copied a few times


@pytest.fixture(scope="module")
def classifier() -> tuple[Bundle, EmotionNetwork]:
    extract_features(np.ones((1, FEATURES.n_samples), np.float32), FEATURES)  # imports much, slowly where it is traced
    model = ModelConfig(channels=(2, 2), hidden=(4, 4))
    standardisation = Standardisation(np.zeros(12, dtype=np.float32), np.full(12, 30, dtype=np.float32))
    torch.manual_seed(0)
    network = build_network(model, *FEATURES.shape, len(EMOTIONS)).eval()
    return Bundle(FEATURES, EMOTIONS, standardisation, model, {}), network


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
def test_broken_recordings_are_used_or_refused_with_a_reason(
    kind: str, tmp_path: Path, classifier: tuple[Bundle, EmotionNetwork], capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / f"{seed}.wav" for seed in range(N_OF_A_KIND)]
    for seed, path in enumerate(paths):
        path.write_bytes(broken(kind, seed))
    tracemalloc.start()
    rows = extract_rows(list(map(str, paths)), FEATURES)
    for path, row in zip(paths, rows, strict=True):
        assert row["path"] == str(path)
        assert (row["features"] is None) == bool(row["error"])
        assert "Error: " not in row["error"], "an exception that nobody foresaw"
        facts = probe(path)
        assert (facts.error, facts.sha256) == (row["error"], row["sha256"])
        try:
            assert np.isfinite(classify(path, *classifier).probabilities).all()
        except AudioError as refusal:
            assert row["error"] or "holds no sound" in str(refusal)  # noqa: PT017 - either outcome is right
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST_BYTES
    assert capfd.readouterr().out == ""  # it belongs to predict's JSON


def test_hours_that_fit_into_a_few_bytes_cost_no_memory(tmp_path: Path) -> None:
    header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(header)
    os.truncate(tmp_path / "x.wav", 8000 * 3600)  # of zeros, which take no room on the disk
    tracemalloc.start()
    (row,) = extract_rows([str(tmp_path / "x.wav")], FEATURES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert row["duration_s"] == pytest.approx(3600, abs=1)
    assert peak < MOST_BYTES / 4
