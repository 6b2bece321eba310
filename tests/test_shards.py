import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ser_tune.errors import InputError, RunError
from ser_tune.shards import SCHEMA, publish, read_manifest, read_shard, write_shard


def row(path: str) -> dict[str, Any]:
    filled = {"path": path, "error": "", "features": [1.0, 2.0], "sha256": "ab", "n_coefficients": 1, "n_frames": 2}
    return {name: filled.get(name, 1) for name in SCHEMA.names}


def test_a_shard_is_described_by_the_bytes_that_lie_on_the_disk(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [row("a"), row("b")])
    content = (tmp_path / shard.name).read_bytes()
    assert (shard.n_rows, shard.n_bytes, shard.sha256) == (2, len(content), hashlib.sha256(content).hexdigest())
    assert read_shard(tmp_path, shard, ["path"]).to_pydict() == {"path": ["a", "b"]}
    assert [path.name for path in tmp_path.iterdir()] == [shard.name]


def test_a_shard_that_is_not_what_was_published_is_refused(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [row("a")])
    with pytest.raises(RunError, match="other content"):
        read_shard(tmp_path, replace(shard, sha256="0" * 64), ["path"])
    with pytest.raises(RunError, match="bytes, 7 expected"):
        read_shard(tmp_path, replace(shard, n_bytes=7), ["path"])
    with pytest.raises(RunError, match="cannot be read"):
        read_shard(tmp_path, replace(shard, name="gone.parquet"), ["path"])


def test_publishing_keeps_what_others_published_and_drops_only_the_withdrawn(tmp_path: Path) -> None:
    first, second, third = (write_shard(tmp_path, [row(name)]) for name in "abc")
    publish(tmp_path, {"features": 1}, [first])
    publish(tmp_path, {"features": 1}, [second])
    publish(tmp_path, {"features": 1}, [third], withdrawn=[first.name])
    assert read_manifest(tmp_path) == [second, third]


def test_a_folder_without_a_manifest_holds_no_shard(tmp_path: Path) -> None:
    write_shard(tmp_path, [row("a")])
    assert read_manifest(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shards": [{"name": "a"}]}', '{"shards": 3}', "\xff", "[" * 100_000])
def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"manifest.json is damaged .* delete it"):
        read_manifest(tmp_path)


def test_a_manifest_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(
        InputError, match=r"manifest.json cannot be read \(Is a directory\); choose another --cache-dir"
    ):
        read_manifest(tmp_path)
