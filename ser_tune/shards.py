"""Parquet shards of a cache folder: written once, never changed, and there only if manifest.json lists them.

A shard is checked against the size and SHA-256 that manifest.json holds whenever it is read; RunError where it
differs. Several processes may publish into one folder. InputError where manifest.json itself is damaged.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_tune.errors import InputError, RunError
from ser_tune.files import lock, write_atomically, write_json

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),
        ("duration_s", pa.float64()),
        ("sample_rate", pa.int32()),
        ("channels", pa.int32()),
        ("peak", pa.float64()),
        ("error", pa.string()),
        ("features", pa.list_(pa.float32())),
        ("n_coefficients", pa.int32()),
        ("n_frames", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Shard:
    """What manifest.json tells of one shard."""

    name: str
    n_bytes: int
    sha256: str
    n_rows: int


def write_shard(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Shard:
    """Write rows with the columns of SCHEMA as a new shard; nobody sees it before it is published."""
    columns = [pa.array([row[item.name] for row in rows], item.type) for item in SCHEMA]
    sink = pa.BufferOutputStream()
    # Split by byte floats compress to 81% of their size instead of 88%, in the same time, and are read faster.
    split = ["features.list.element"]
    table = pa.table(columns, schema=SCHEMA)
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, use_byte_stream_split=split)
    content = sink.getvalue().to_pybytes()
    name = f"{uuid.uuid4().hex}.parquet"
    write_atomically(folder / name, lambda temporary: temporary.write_bytes(content))
    return Shard(name, len(content), hashlib.sha256(content).hexdigest(), len(rows))


def read_shard(folder: Path, shard: Shard, columns: Sequence[str]) -> pa.Table:
    """Return these columns of a shard; RunError unless the file is exactly what was published."""
    path = folder / shard.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); run the same command again") from error
    if len(content) != shard.n_bytes or hashlib.sha256(content).hexdigest() != shard.sha256:
        found = f"{len(content)} bytes, {shard.n_bytes} expected" if len(content) != shard.n_bytes else "other content"
        raise RunError(f"{path} is damaged ({found}); run the same command again")
    return pq.read_table(pa.BufferReader(content), columns=list(columns))


def read_manifest(folder: Path) -> list[Shard]:
    """Return the published shards, oldest first."""
    path = folder / "manifest.json"
    try:
        return [Shard(**entry) for entry in json.loads(path.read_bytes())["shards"]]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); choose another --cache-dir") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it: the features are then extracted anew") from error


def publish(folder: Path, about: Mapping[str, Any], new: Sequence[Shard], withdrawn: Collection[str] = ()) -> None:
    """List new shards in manifest.json, beside what other processes published, and no longer the withdrawn."""
    with lock(folder / ".lock"):
        shards = [shard for shard in read_manifest(folder) if shard.name not in withdrawn]
        write_json(folder / "manifest.json", {**about, "shards": [asdict(shard) for shard in [*shards, *new]]})
