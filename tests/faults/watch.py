"""A reader that looks at a search's files all the time, as a person or a tool might, and notes what is not whole."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

PAUSE_S = 0.03
Check = Callable[[bytes], object]


def _ends_with(mark: bytes) -> Check:
    def check(content: bytes) -> None:
        if not content.rstrip().endswith(mark):
            raise ValueError(f"does not end with {mark!r}")

    return check


def _read_lines(content: bytes) -> None:
    for line in content.split(b"\n")[:-1]:  # a torn last line is a kill's, and forgiven
        json.loads(line)


_CHECKS: dict[str, Check] = {
    ".json": json.loads,
    ".jsonl": _read_lines,
    ".parquet": lambda content: pq.read_table(pa.BufferReader(content)),
    ".safetensors": safetensors.numpy.load,
    ".html": _ends_with(b"</html>"),
    ".csv": _ends_with(b""),
    ".png": _ends_with(b"IEND\xaeB`\x82"),
}


class Watch:
    """Reads what lies below `root` while it is open; `problems` names what was found broken, or lost."""

    def __init__(self, root: Path):
        self.root = root
        self.problems: list[str] = []
        self.n_read = 0
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._lines: dict[Path, bytes] = {}
        self._shards: set[Path] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        self.look()

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE_S):
            self.look()

    def look(self) -> None:
        for path in [*self.root.glob("experiments/*/*.*"), *self.root.glob("experiments/*/[bf]*/*.*")]:
            self._read(path, _CHECKS.get(path.suffix))
        for path in self.root.glob("feature_cache/*/manifest.json"):
            self._read(path, lambda content, folder=path.parent: self._check_shards(folder, content))  # type: ignore[misc]

    def _read(self, path: Path, check: Check | None) -> None:
        if check is None or path.name.startswith("."):
            return
        try:
            status = path.stat()
            about = status.st_ino, status.st_size, status.st_mtime_ns
            if self._seen.get(path) == about:
                return
            content = path.read_bytes()
        except FileNotFoundError:  # replaced or removed meanwhile
            return
        self._seen[path] = about
        self.n_read += 1
        try:
            check(content)
            if path.suffix == ".jsonl":
                self._check_append(path, content)
        except Exception as error:  # noqa: BLE001 # whatever a reader stumbles over
            self.problems.append(f"{path} was read half-written: {type(error).__name__}: {error}")

    def _check_append(self, path: Path, content: bytes) -> None:
        whole = content[: content.rfind(b"\n") + 1]
        if not whole.startswith(self._lines.get(path, b"")):
            self.problems.append(f"{path} lost or changed lines that were there")
        self._lines[path] = whole

    def _check_shards(self, folder: Path, content: bytes) -> None:
        for shard in json.loads(content)["shards"]:
            path = folder / shard["name"]
            if path not in self._shards:
                if hashlib.sha256(path.read_bytes()).hexdigest() != shard["sha256"]:
                    raise ValueError(f"it lists {path.name}, which is not whole")
                self._shards.add(path)
