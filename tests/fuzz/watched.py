"""Runs a command to its end and tells what it took: its lines, their pace, its memory, how it ended."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What root is not stopped by, others are: without these it is as they are.
AS_OTHERS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
STALLED_S = 1200  # without a line; hours of silence on a busy machine take minutes


@dataclass(frozen=True)
class Watched:
    """What a command did; `longest_s` is the longest time between two of its lines [s]."""

    lines: list[str]
    seconds: float
    longest_s: float
    peak_mib: float
    """The most memory that it held, or a process that it started [MiB]."""
    status: int
    hung: bool
    complaint: str
    """The end of what it printed on standard error."""


def watch(command: Sequence[str | bytes], folder: Path) -> Watched:
    """Run the command in the folder, where even for root closed files are closed."""
    if os.geteuid() == 0:
        command = [*AS_OTHERS, *command]
    env = os.environ | {"HOME": str(folder), "NUMBA_CACHE_DIR": str(folder / "numba"), "PYTHONUNBUFFERED": "1"}
    started = last = time.monotonic()
    lines: list[str] = []
    longest, highest = 0.0, [0.0]
    with (folder / "stderr").open("wb+") as complaints:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=complaints, env=env)
        stalled = threading.Event()
        progress = [last]
        watcher = threading.Thread(target=_watch_memory, args=(process, progress, highest, stalled))
        watcher.start()
        assert process.stdout is not None
        for line in process.stdout:
            if lines:
                longest = max(longest, time.monotonic() - progress[0])
            lines.append(line.decode(errors="replace").rstrip("\n"))
            progress[0] = time.monotonic()
        status = process.wait()
        watcher.join()
        complaints.seek(0)
        complaint = complaints.read()[-2000:].decode(errors="replace")
    return Watched(lines, time.monotonic() - started, longest, highest[0], status, stalled.is_set(), complaint)


def _watch_memory(
    process: "subprocess.Popen[bytes]", progress: list[float], highest: list[float], stalled: threading.Event
) -> None:
    """Note the most that the process and those below it ever held, each alone; kill it where no line comes."""
    while process.poll() is None:
        parents = _parents()
        below = {process.pid}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        for pid in below:
            with contextlib.suppress(OSError, StopIteration):
                status = Path(f"/proc/{pid}/status").read_text().splitlines()
                held = next(line for line in status if line.startswith("VmHWM"))
                highest[0] = max(highest[0], int(held.split()[1]) / 1024)
        if time.monotonic() - progress[0] > STALLED_S:
            stalled.set()
            process.kill()
        time.sleep(0.1)


def _parents() -> dict[int, int]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return found
