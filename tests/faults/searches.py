"""A search as a user starts it: a real process in a folder of its own, with all the processes that it starts.

Every process below it carries a mark in its environment, or lies in its folder, and is found also after its parent is
gone.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ser_tune.experiment import ExperimentFolder

STAGES = ("start", "extraction", "search", "refit", "export", "over")
MARK = "SER_TUNE_FAULTS"
PATIENCE_S = 1200.0  # a machine of two shared cores is slow at times; nothing is judged by how long it takes
N_STARTS = 5
BUSY = "error: Ray did not start"
_WORKERS = {"extraction": b"ray::extract_shard", "search": b"ray::Implicit", "refit": b"ray::_refit"}

# Small, and yet long enough in every stage that a random moment can fall into it.
GRID = [
    *("--experiment", "faults", "--model.channels", "4", "8", "--model.hidden", "32", "16", "--splits.folds", "3"),
    *("--features.hop-length", "256", "--training.epochs", "4", "--training.precision", "float32"),
    *("--compute.cpus-per-trial", "1", "--search.retries", "100", "--space.lr", "0.001", "0.002", "0.004", "0.008"),
]
RACE = [
    *GRID[:-5],
    *("--search.method", "random", "--search.race", "paired", "--search.concurrency", "1"),
    *("--search.candidates", "6", "--space.lr", "log:1e-4..1e-1"),
]


@dataclass(frozen=True)
class Place:
    """A folder in which one experiment is searched, with a cache of its own."""

    root: Path
    flags: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = ""
    """That of the cluster on which it is searched; otherwise each search has its own."""

    @property
    def folder(self) -> ExperimentFolder:
        name = self.flags[self.flags.index("--experiment") + 1]
        return ExperimentFolder(self.root / "experiments" / name)

    @property
    def cache(self) -> Path:
        named = self.flags[self.flags.index("--cache-dir") + 1] if "--cache-dir" in self.flags else "feature_cache"
        return self.root / named

    def run(self, *more: str) -> "Search":
        """Run the command to its end; again, as it says, where the machine was too busy for Ray to start in time."""
        for _ in range(N_STARTS):
            search = self.start(*more)
            if search.end() == 0 or BUSY not in search.said:
                break
        return search

    def start(self, *more: str, module: str = "ser_tune.search", flags: Sequence[str] | None = None) -> "Search":
        """Start the command; what it says goes to a file of its own."""
        self.root.mkdir(parents=True, exist_ok=True)
        logs = self.root.with_name(f"{self.root.name}-said")
        logs.mkdir(exist_ok=True)
        log = logs / f"{len(list(logs.iterdir())):03}.txt"
        mark = self.mark or uuid.uuid4().hex
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *(self.flags if flags is None else flags), *more],
                cwd=self.root,
                env={**os.environ, **self.environment, MARK: mark},
                stdout=said,
                stderr=subprocess.STDOUT,
                process_group=0,  # as a shell does; a new session would get a share of the processors of its own
            )
        return Search(self, process, log, mark)


@dataclass(frozen=True)
class Search:
    """A running search."""

    place: Place
    process: "subprocess.Popen[bytes]"
    log: Path
    mark: str

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def stage(self) -> str:
        """What goes on, as the disk and the lines that were printed tell it."""
        folder = self.place.folder
        if self.process.poll() is not None:
            return "over"
        if "\nfeatures: " not in f"\n{self.said}":
            return "extraction" if self.workers("extraction") else "start"
        if (folder.bundle / "bundle.json").exists():
            return "export"
        return "refit" if folder.selection.exists() else "search"

    def processes(self) -> dict[int, bytes]:
        """The command lines of this search's own process and all others that it brought about, by their numbers.

        The names that Ray's agents give themselves overwrite their environment: where they were started tells of them.
        """
        wanted, root = f"{MARK}={self.mark}".encode(), str(self.place.root.resolve())
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted in (path / "environ").read_bytes() or str((path / "cwd").readlink()) == root:
                    found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ")
        return found

    def find(self, *words: bytes) -> list[int]:
        """The processes whose command line holds one of the words, without the search's own."""
        return [
            pid
            for pid, line in self.processes().items()
            if pid != self.process.pid and any(word in line for word in words)
        ]

    def workers(self, stage: str) -> list[int]:
        """The processes that do the work of a stage."""
        return self.find(_WORKERS[stage]) if stage in _WORKERS else []

    def is_at_work(self, stage: str) -> bool:
        """Whether this stage runs, or a later one."""
        now = self.stage
        if now == stage:
            return stage not in _WORKERS or bool(self.workers(stage))
        return STAGES.index(now) > STAGES.index(stage)

    def await_stage(self, stage: str) -> None:
        wait_for(lambda: self.is_at_work(stage), f"{stage} of {self.log}")

    def strike(self, stage: str, span_s: float, rng: random.Random, blow: Callable[["Search"], bool | None]) -> str:
        """Wait for a stage and then a random while of `span_s`; the stage in which the blow really fell.

        "over" where the search had ended before, or the blow says that it found nothing to hit.
        """
        self.await_stage(stage)
        time.sleep(rng.uniform(0, span_s))
        now = self.stage
        return "over" if now == "over" or blow(self) is False else now

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """Wait for the end; the exit status."""
        try:
            return self.process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1000

    def orphans(self) -> dict[int, bytes]:
        """What is left of its processes a while after it ended; they are killed."""
        deadline = time.monotonic() + PATIENCE_S / 4
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; TimeoutError where it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.1)
