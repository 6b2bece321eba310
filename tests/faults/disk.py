"""A disk that is full in every stage, a tmpfs that is made small when the stage begins; and a cache that is read-only.

Both mount something, which needs root; without it the rows say that they were left out.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench import Bench, Row
from searches import BUSY, GRID, N_STARTS, Place, Search
from watch import Watch

from ser_tune.experiment import ExperimentFolder

FULL = "error: no space left on the disk"
PAGE = 4096
ROOMY = 2**28
N_RESIZES = 20  # what is taken may grow meanwhile
PARTS = ((0, 0.3), (0.3, 0.7))  # of what a stage needs it gets this much, at random, when it begins


def fill_disk(bench: Bench) -> list[Row]:
    """In every stage, twice: the disk is roomy until the stage begins, and then has not enough left for it."""
    row, rng = Row("Disk full (tmpfs)"), bench.rng()
    place = bench.place("full-disk")
    with _mounted(row, "-t", "tmpfs", "-o", f"size={ROOMY}", "ser_tune-faults", str(place.root)) as mounted:
        if not mounted:
            return [row]
        with Watch(place.root) as watch:
            for stage, need in _needs(bench.undisturbed()).items():
                for part in PARTS:
                    _resize(place.root, ROOMY)
                    search = _start_until(stage, place)
                    _resize(place.root, None, int(rng.uniform(*part) * need))
                    status = search.end()
                    row.expect("Traceback" not in search.said, "a traceback", search)
                    row.expect(status == 0 or FULL in search.said, f"exit status {status} without `{FULL}`", search)
                    if status:
                        row.hit(stage)
                        row.happened[f"exit {status}, `{FULL}`"] += 1
            _resize(place.root, ROOMY)
            last = place.run()
        bench.check(row, last, watch)
    return [row]


def _start_until(stage: str, place: Place) -> Search:
    """A search that is about to begin a stage, or that has ended."""
    for _ in range(N_STARTS):
        search = place.start()
        while search.process.poll() is None and _stage(place.folder) not in (stage, "over"):
            time.sleep(0.01)
        if search.process.poll() is None or BUSY not in search.said:
            break
    return search


def read_only_cache(bench: Bench) -> list[Row]:
    """A whole cache serves though nothing can be written there; one that lacks something is refused."""
    row, whole = Row("Read-only cache"), bench.place("read-only")
    shutil.copytree(bench.undisturbed().cache, whole.cache)
    with _mounted(row, "--bind", str(whole.cache), str(whole.cache)) as mounted:
        if not mounted:
            return [row]
        _run("mount", "-o", "remount,bind,ro", str(whole.cache))
        row.moments["whole"] += 1
        bench.finish(row, whole)
        for name, flags in (
            ("other features are missing", ["--features.n-mfcc", "12"]),
            ("sample corpora are missing", GRID),
        ):
            row.moments[name] += 1
            flags = flags if flags is GRID else [*whole.flags, *flags]
            search = whole.start("--experiment", "other", flags=flags)
            status, said = search.end(), search.said.strip()
            refused = status == 2 and said.count("\n") == 0 and "cannot be written" in said
            row.expect(refused, f"exit status {status}, expected one line that refuses", search)
            row.happened["exit 2, `... cannot be written (Read-only file system); choose another --cache-dir`"] += 1
    return [row]


def _stage(folder: ExperimentFolder) -> str:
    """The stage that is not finished, as the files on the disk tell."""
    files = {
        "extraction": folder.config,
        "search": folder.selection,
        "refit": folder.bundle / "bundle.json",
        "export": folder.report,
    }
    return next((stage for stage, path in files.items() if not path.exists()), "over")


def _resize(mounted: Path, size: int | None, free: int = 0) -> None:
    """Give a mounted disk this size, or so much beyond what is taken of it now [bytes]."""
    for _ in range(N_RESIZES):
        wanted = size or _taken(mounted) + free // PAGE * PAGE + PAGE
        done = subprocess.run(["mount", "-o", f"remount,size={wanted}", str(mounted)], capture_output=True, check=False)
        if done.returncode == 0:
            return
    raise OSError(f"{mounted} cannot be resized: {done.stderr.decode().strip()}")


def _needs(place: Place) -> dict[str, int]:
    """About how much each stage writes [bytes]."""
    folder = place.folder
    late = [folder.bundle, folder.report, folder.figures, folder.test]
    sizes = {path: _used(path) for path in late}
    rest = _used(folder.root) - sum(sizes.values())
    export = sizes[folder.report] + sizes[folder.figures] + sizes[folder.test]
    return {"extraction": _used(place.cache), "search": rest, "refit": sizes[folder.bundle], "export": export}


def _used(path: Path) -> int:
    """Bytes that a file or folder takes, in whole pages."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() or one.is_dir()]
    return sum(-(-one.stat().st_size // PAGE) * PAGE for one in files if one.is_file()) + PAGE


def _taken(mounted: Path) -> int:
    """Bytes that are taken of a mounted disk."""
    status = os.statvfs(mounted)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@contextlib.contextmanager
def _mounted(row: Row, *arguments: str) -> Iterator[bool]:
    """Mount something, and yield whether that was possible; the row says so where it was not."""
    target = Path(arguments[-1])
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        row.happened[f"left out: {'mount failed' if os.geteuid() == 0 else 'needs root'}"] += 1
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            _run("umount", "-l", str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
