"""A program whose memory is watched: that of all its processes, shared pages counted once."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path


def processes_below(root: int) -> Iterator[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        parents.setdefault(parent, []).append(int(path.parent.name))
    pending = [root]
    while pending:
        yield (pid := pending.pop())
        pending += parents.get(pid, [])


def pss_mib(root: int, *, descendants: bool = True) -> float:
    """What a process, and its descendants, hold: shared pages are divided among those that share them."""
    total = 0
    for pid in processes_below(root) if descendants else [root]:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def watch(process: subprocess.Popen[str], peaks: list[float]) -> None:
    """Take the memory of a running process every second."""
    while process.poll() is None:
        peaks.append(pss_mib(process.pid))
        time.sleep(1)


def start(command: list[str], peaks: list[float]) -> subprocess.Popen[str]:
    """Start python with these arguments; what it holds is added to `peaks` every second [MiB]."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)  # noqa: S603 # our own programs
    threading.Thread(target=watch, args=(process, peaks), daemon=True).start()
    return process
