import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile

from ser_tune.cache import FeatureCache, extract, fingerprint
from ser_tune.config import FeatureConfig
from ser_tune.errors import InputError, RunError
from ser_tune.features import extract_features, prepare

SETTINGS = FeatureConfig(duration_s=0.5)
needs_ray = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def record(path: Path, seed: int, sample_rate: int = 16000) -> str:
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, (9000, 1))
    soundfile.write(path, samples, sample_rate)
    return str(path)


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    folder = tmp_path / "recordings"
    folder.mkdir()
    return [record(folder / f"{seed}.wav", seed) for seed in range(40)]


def alone(path: str) -> npt.NDArray[np.float32]:
    waveform, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    features: npt.NDArray[np.float32] = extract_features(prepare(waveform, sample_rate, SETTINGS)[None], SETTINGS)[0]
    return features


def counts(cache: FeatureCache) -> tuple[int, int]:
    return cache.n_extracted, cache.n_reused


def refuse_ray() -> NoReturn:
    raise AssertionError("Ray was started")


def shards(cache: FeatureCache) -> list[Path]:
    listed = json.loads((cache.folder / "manifest.json").read_text())["shards"]
    return [cache.folder / shard["name"] for shard in listed]


class TestExtract:
    pytestmark = needs_ray

    def test_a_rerun_extracts_nothing_and_writes_nothing(self, recordings: list[str], tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        first = extract(recordings, SETTINGS, tmp_path, progress=lambda done, total: seen.append((done, total)))
        assert counts(first) == (40, 0)
        assert seen == sorted(seen)
        assert (seen[0], seen[-1]) == ((0, 40), (40, 40))
        before = {path: path.stat().st_mtime_ns for path in [first.folder, *first.folder.iterdir()]}
        first.folder.chmod(0o555)
        again = extract(recordings, SETTINGS, tmp_path, start_ray=refuse_ray)
        assert counts(again) == (0, 40)
        assert again.facts == first.facts
        assert {path: path.stat().st_mtime_ns for path in before} == before
        first.folder.chmod(0o755)

    def test_features_come_in_the_order_asked_and_equal_each_recording_alone(
        self, recordings: list[str], tmp_path: Path
    ) -> None:
        cache = extract(recordings, SETTINGS, tmp_path)
        asked = [recordings[number] for number in (7, 0, 39, 7, 21)]
        loaded = cache.load([cache.facts[path].sha256 for path in asked])
        assert loaded.dtype == np.float32
        np.testing.assert_allclose(loaded, [alone(path) for path in asked], rtol=0, atol=1e-3)
        assert cache.load([]).shape == (0, 39, SETTINGS.n_frames)
        with pytest.raises(RunError, match="holds no features of the audio 00ff"):
            cache.load(["00ff"])

    def test_only_new_and_changed_recordings_are_extracted(self, recordings: list[str], tmp_path: Path) -> None:
        extract(recordings[:30], SETTINGS, tmp_path)
        record(Path(recordings[3]), 99)
        os.utime(recordings[3], ns=(1, 1))  # the clock of some file systems is coarse
        cache = extract(recordings[:33], SETTINGS, tmp_path)
        assert counts(cache) == (4, 29)
        np.testing.assert_allclose(cache.load([cache.facts[recordings[3]].sha256]), [alone(recordings[3])], atol=1e-3)

    def test_recordings_that_cannot_be_used_are_kept_with_their_reason(
        self, recordings: list[str], tmp_path: Path
    ) -> None:
        bad = [tmp_path / name for name in ("text.wav", "empty.wav", "pointer.wav", "absent.wav")]
        bad[0].write_text("no audio")
        bad[1].touch()
        bad[2].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
        mixed = [str(bad[0]), *recordings[:10], *map(str, bad[1:]), *recordings[10:]]
        cache = extract(mixed, SETTINGS, tmp_path)
        assert counts(cache) == (40, 0)
        assert list(cache.facts) == mixed
        reasons = [cache.facts[str(path)].error for path in bad]
        assert reasons[:2] == ["not decodable as audio", "empty file"]
        assert reasons[2].startswith("Git-LFS pointer")
        assert reasons[3].startswith("cannot be opened")
        record(bad[3], 77)
        again = extract(mixed, SETTINGS, tmp_path)
        assert counts(again) == (1, 40)
        assert [again.facts[str(path)].error for path in bad] == [*reasons[:3], ""]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
            lambda path: path.unlink(),
        ],
        ids=["cut short", "one bit flipped", "deleted"],
    )
    def test_a_damaged_shard_is_noticed_and_extracted_anew(
        self, recordings: list[str], tmp_path: Path, damage: Callable[[Path], Any]
    ) -> None:
        before = extract(recordings, SETTINGS, tmp_path)
        hashes = [before.facts[path].sha256 for path in recordings]
        features = before.load(hashes)
        victim = shards(before)[0]
        lost = pq.read_metadata(victim).num_rows
        damage(victim)
        with pytest.raises(RunError, match=f"{victim.name} .*run the same command again"):
            before.load(hashes)
        after = extract(recordings, SETTINGS, tmp_path)
        assert counts(after) == (lost, 40 - lost)
        assert victim.name in after.notices[0]
        assert victim not in shards(after)
        np.testing.assert_array_equal(after.load(hashes), features)
        assert extract(recordings, SETTINGS, tmp_path).notices == ()

    def test_plain_pyarrow_and_pandas_read_the_shards(self, recordings: list[str], tmp_path: Path) -> None:
        cache = extract(recordings, SETTINGS, tmp_path)
        rows = pd.concat([pd.read_parquet(path) for path in shards(cache)]).set_index("path")
        assert sorted(rows.index) == sorted(recordings)
        for path in recordings[::10]:
            row = rows.loc[path]
            assert row["sha256"] == cache.facts[path].sha256
            features = row["features"].reshape(row["n_coefficients"], row["n_frames"])
            np.testing.assert_array_equal(features, cache.load([str(row["sha256"])])[0])
        table = pq.read_table(shards(cache)[0])
        assert str(table.schema.field("features").type) == "list<element: float>"

    def test_a_killed_extraction_goes_on_with_what_is_missing(self, tmp_path: Path) -> None:
        table, n_clips = tmp_path / "own.csv", 150
        names = [f"{seed}.wav" for seed in range(n_clips)]
        paths = [record(tmp_path / name, seed) for seed, name in enumerate(names)]
        table.write_text("path,emotion,speaker\n" + "".join(f"{name},happy,s{name[0]}\n" for name in names))
        slow = FeatureConfig(duration_s=0.5, hop_length=16)
        command = [
            sys.executable,
            "-m",
            "ser_tune.extract",
            "--csv",
            str(table),
            "--cache-dir",
            str(tmp_path / "cache"),
        ]
        child = subprocess.Popen(
            [*command, "--features.duration-s", "0.5", "--features.hop-length", "16"], stderr=subprocess.DEVNULL
        )
        manifest = tmp_path / "cache" / fingerprint(slow) / "manifest.json"
        while not (manifest.exists() and json.loads(manifest.read_text())["shards"]):
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = sum(shard["n_rows"] for shard in json.loads(manifest.read_text())["shards"])
        assert 0 < kept < n_clips
        resumed = extract(paths, slow, tmp_path / "cache")
        assert counts(resumed) == (n_clips - kept, kept)
        hashes = [resumed.facts[path].sha256 for path in paths]
        undisturbed = extract(paths, slow, tmp_path / "other")
        np.testing.assert_array_equal(resumed.load(hashes), undisturbed.load(hashes))


def test_nothing_to_extract_needs_neither_ray_nor_a_folder(tmp_path: Path) -> None:
    cache = extract([], SETTINGS, tmp_path / "cache", start_ray=refuse_ray)
    assert (cache.facts, counts(cache)) == ({}, (0, 0))
    assert not (tmp_path / "cache").exists()


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/.* cannot be written \(.*\); choose another --cache-dir"):
        extract([str(tmp_path / "a.wav")], SETTINGS, tmp_path / "file", start_ray=refuse_ray)


def test_the_fingerprint_changes_with_every_setting_and_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    other = FeatureConfig(
        sample_rate=22050, duration_s=2.5, pad="loop", trim_db=30, level="rms", n_mfcc=20, n_fft=1024, hop_length=256
    )
    varied = [
        dataclasses.replace(FeatureConfig(), **{item.name: getattr(other, item.name)})
        for item in dataclasses.fields(FeatureConfig)
    ]
    fingerprints = [fingerprint(settings) for settings in [FeatureConfig(), *varied]]
    monkeypatch.setattr("ser_tune.cache.FEATURES_VERSION", -1)
    fingerprints.append(fingerprint(FeatureConfig()))
    assert len(set(fingerprints)) == len(dataclasses.fields(FeatureConfig)) + 2
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in fingerprints)


def test_the_fingerprint_of_the_default_is_the_one_that_caches_in_use_have() -> None:
    assert fingerprint(FeatureConfig()) == "cd49cc5518ac98b1"
