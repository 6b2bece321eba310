"""What the benchmarks share: recordings to measure with, measurements that are kept, a program whose memory is watched.

Memory is that of all processes of a program, shared pages counted once.
"""

import argparse
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path


def recordings_folder(name: str) -> Path:
    """The folder that an argument names; it must hold recordings."""
    folder = Path(name).absolute()
    if next(folder.rglob("*.wav"), None) is None:
        raise argparse.ArgumentTypeError(f"{name} is no folder with .wav files in it")
    return folder


def link_clips(data_dir: Path, folder: Path, n_clips: int) -> None:
    """Symbolic links to the recordings, again and again under other folders."""
    recordings = sorted(path for path in data_dir.rglob("*.wav") if path.is_file())
    for number, path in zip(range(n_clips), itertools.cycle(recordings), strict=False):
        # The folder is new in every round: names and speakers stay those that the corpus knows.
        link = folder / str(number // len(recordings)) / path.relative_to(data_dir)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def commit() -> str:
    """The commit that is measured."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "no commit"


def keep(work: Path, about: dict[str, str]) -> None:
    """Make a folder for measurements; the program ends where it holds those of something else."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "about.json"
    held = json.loads(path.read_text()) if path.exists() else about
    if held != about:
        sys.exit(f"{work} holds measurements of {held}, these would be of {about}; delete it, or choose another --work")
    path.write_text(json.dumps(about))


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
