from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import ray
import soundfile

from ser_tune.cache import FeatureCache, extract
from ser_tune.config import Emotion, FeatureConfig
from ser_tune.dataset import LabelledClips
from ser_tune.errors import RunError
from ser_tune.sharing import load_clips, share_clips

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
EMOTIONS: tuple[Emotion, ...] = ("happy", "sad")


@pytest.fixture
def clips(tmp_path: Path) -> tuple[pd.DataFrame, FeatureCache]:
    """Rows of a manifest, in another order than the recordings were extracted in, and their features."""
    paths = [str(tmp_path / f"{number}.wav") for number in range(20)]
    for number, path in enumerate(paths):
        soundfile.write(path, np.random.default_rng(number).uniform(-0.3, 0.3, 9000), 16000)
    cache = extract(paths, FeatureConfig(duration_s=0.5), tmp_path / "cache")
    order = np.random.default_rng(0).permutation(20)[:15]
    rows = {
        "sha256": [cache.facts[paths[number]].sha256 for number in order],
        "emotion": [EMOTIONS[number % 2] for number in order],
        "fold": pd.array([None if number < 3 else number % 3 for number in order], dtype="Int64"),
    }
    return pd.DataFrame(rows), cache


@pytest.fixture(params=["few clips", "many clips"])
def many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the clips are so many that a worker loads them."""
    found: bool = request.param == "many clips"
    monkeypatch.setattr("ser_tune.sharing.LARGE_BYTES", 15 * 39 * 24 * 4 + (0 if found else 1))
    return found


def test_what_is_shared_is_what_is_loaded(clips: tuple[pd.DataFrame, FeatureCache], many: bool) -> None:
    rows, cache = clips
    expected = load_clips(rows, cache, EMOTIONS)
    found: LabelledClips = ray.get(share_clips(rows, cache, EMOTIONS))
    for name in ("features", "labels", "fold", "rows"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.emotions == EMOTIONS


def test_the_driver_does_not_load_many_clips(
    clips: tuple[pd.DataFrame, FeatureCache], many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("the driver loads features")

    monkeypatch.setattr(FeatureCache, "load", refuse)
    if many:
        assert len(ray.get(share_clips(*clips, EMOTIONS))) == 15
    else:
        with pytest.raises(AssertionError, match="the driver loads features"):
            share_clips(*clips, EMOTIONS)


@pytest.mark.usefixtures("many")
def test_a_damaged_shard_is_told(clips: tuple[pd.DataFrame, FeatureCache]) -> None:
    rows, cache = clips
    for shard in cache.folder.glob("*.parquet"):
        shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"\.parquet is damaged \(.* expected\); run the same command again$"):
        share_clips(rows, cache, EMOTIONS)


@pytest.mark.usefixtures("many")
def test_audio_that_the_cache_lacks_is_told(clips: tuple[pd.DataFrame, FeatureCache]) -> None:
    rows, cache = clips
    with pytest.raises(
        RunError, match=r"no features of the audio unknown: .* vanished .*; run the same command again$"
    ):
        share_clips(rows.assign(sha256="unknown"), cache, EMOTIONS)
