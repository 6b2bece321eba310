"""Thousands of broken recordings through decoding, search, audit and predict, as users start them.

    make fuzz                                                                 writes README.md beside it
    python tests/fuzz/broken_recordings.py --of-a-kind 5                    prints it, of fewer files
    python tests/fuzz/broken_recordings.py --one "bits flipped" 17 FILE     makes that one again

Ends with 1 where a process died or hung, held too much memory, or lost a file: the folder is then kept.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pandas as pd
from mutations import KINDS, broken
from places import make_damaged, make_good, make_long, make_named, make_odd
from watched import Watched, watch

ROOM_MIB = 256  # beyond the same command with good recordings: a block of 16 MiB, a few copies of it, some threads
NETWORK = ["--training.epochs", "1", "--space.lr", "0.001", "--model.channels", "2", "2", "--model.hidden", "8", "8"]


def decode(listing: Path) -> None:
    """Make the row of each file that the listing names, alone, and print how it went."""
    from ser_tune.config import FeatureConfig
    from ser_tune.rows import extract_rows

    paths = json.loads(listing.read_text())
    extract_rows(paths[:1], FeatureConfig())  # what is imported with the first is no file's time
    for path in paths:
        started = time.perf_counter()
        (row,) = extract_rows([path], FeatureConfig())
        assert (row["features"] is None) == bool(row["error"])
        print(json.dumps([row["error"], time.perf_counter() - started]), flush=True)


@dataclass
class Outcome:
    """How a command went with all files, beside one with good ones alone."""

    name: str
    done: Watched
    of_good: Watched
    n_files: int
    n_lost: int

    @property
    def failed(self) -> bool:
        too_much = self.done.peak_mib > self.of_good.peak_mib + ROOM_MIB
        return self.done.status != 0 or self.done.hung or self.n_lost > 0 or too_much

    def row(self) -> str:
        crashed = int(self.done.status != 0 and not self.done.hung)
        peaks = f"{self.done.peak_mib:.0f} | {self.of_good.peak_mib:.0f} + {ROOM_MIB}"
        longest = f"{self.done.longest_s:.1f}" if len(self.done.lines) >= self.n_files else "-"
        numbers = f"{self.done.seconds:.0f} | {longest} | {crashed} | {int(self.done.hung)} | {self.n_lost}"
        return f"| {self.name} | {self.n_files} | {peaks} | {numbers} |"


@dataclass
class Fuzz:
    """The folders of files, `kinds` by path, and what became of them."""

    work: Path
    kinds: dict[bytes, str]
    good: dict[bytes, str]
    reasons: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    longest_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def python(self, *arguments: str | bytes) -> Watched:
        return watch([sys.executable, *arguments], self.work)

    def decode(self) -> Outcome:
        """Rows of the cache, file by file."""

        def run(files: Sequence[bytes]) -> Watched:
            (self.work / "files.json").write_text(json.dumps([os.fsdecode(file) for file in files]))
            return self.python(__file__, "--decode", str(self.work / "files.json"))

        done = run(list(self.kinds))
        for kind, line in zip(self.kinds.values(), done.lines, strict=False):
            reason, seconds = json.loads(line)
            self.reasons[kind][shortened(reason)] += 1
            self.longest_s[kind] = max(self.longest_s[kind], seconds)
        return Outcome("decoding (`extract_rows`)", done, run(list(self.good)), len(self.kinds), self.lost(done.lines))

    def lost(self, told: Sequence[object]) -> int:
        return abs(len(self.kinds) - len(told))

    def audit(self) -> Outcome:
        """Every file is usable or listed; of a closed folder, the folder."""
        done, of_good = (
            self.python("-m", "ser_tune.audit", "--all", "--data-dir", str(folder))
            for folder in (self.work / "data", self.work / "data" / "good")
        )
        found = re.fullmatch(r"(\d+) recordings are usable, (\d+) files are left out", (done.lines or [""])[-1])
        usable, left_out = map(int, found.groups()) if found else (0, 0)
        listed = sum(line.startswith("  /") for line in done.lines)
        n_lost = abs(len(self.kinds) - usable - left_out) + abs(left_out - listed)
        return Outcome("`python -m ser_tune.audit`", done, of_good, len(self.kinds), n_lost)

    def search(self) -> Outcome:
        """Every file is in manifest.parquet or in excluded.parquet, once."""
        of_good, done = (
            self.python(
                *("-m", "ser_tune.search", "--data-dir", str(folder), "--experiment", folder.name, *NETWORK),
                *("--experiments-dir", "experiments", "--cache-dir", "cache"),
            )
            for folder in (self.work / "data" / "good", self.work / "data")
        )
        tables = [self.work / "experiments" / "data" / f"{name}.parquet" for name in ("manifest", "excluded")]
        listed = Counter(path for table in tables if table.exists() for path in pd.read_parquet(table)["path"])
        shown = Counter(path.decode("utf-8", "backslashreplace") for path in self.kinds)
        # Of a closed folder nobody knows the files: it is listed itself.
        shown = Counter(re.sub("(/no files/closed)/.*", r"\1", path) for path in shown)
        n_lost = sum(((shown - listed) + (listed - shown)).values())
        return Outcome("`python -m ser_tune.search`", done, of_good, len(self.kinds), n_lost)

    def predict(self) -> Outcome:
        """One line for every file, in their order."""

        def run(files: Sequence[bytes]) -> Watched:
            return self.python("-m", "ser_tune.predict", "--json", "--bundle", "experiments/data/bundle", "--", *files)

        done = run(list(self.kinds))
        paths = [os.fsencode(json.loads(line)["path"]) for line in done.lines]
        n_lost = sum(told != file for told, file in zip(paths, self.kinds, strict=False)) + self.lost(paths)
        return Outcome("`python -m ser_tune.predict`", done, run(list(self.good)), len(self.kinds), n_lost)

    def table(self) -> str:
        lines = ["| damage | files | used | refused, by reason | longest [s] |", "|---|---|---|---|---|"]
        counts = Counter(self.kinds.values())
        for kind, reasons in self.reasons.items():
            refused = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common() if reason)
            lines.append(f"| {kind} | {counts[kind]} | {reasons['']} | {refused or '-'} | {self.longest_s[kind]:.2f} |")
        return "\n".join(lines)


def shortened(reason: str) -> str:
    """The reason without the numbers in which files differ."""
    return re.sub(r"[0-9][0-9.e+]*", "N", reason.split(":")[0])


def markdown(fuzz: Fuzz, outcomes: Sequence[Outcome], command: str) -> str:
    """What README.md holds."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, {system}"
    heads = [
        "process",
        "files",
        "peak [MiB]",
        "limit [MiB]",
        "time [s]",
        "longest file [s]",
        "crashes",
        "hangs",
        "unaccounted",
    ]
    return "\n".join(
        [
            "# Broken recordings\n",
            f"`{command}`, {date.today()}, {machine}.\n",
            f"{len(fuzz.kinds)} files, {len(fuzz.good)} of them good; each is used or refused with a reason. A command",
            f"may hold {ROOM_MIB} MiB more than with the good ones alone; of a search the largest process counts.\n",
            f"| {' | '.join(heads)} |",
            "|---" * len(heads) + "|",
            *(outcome.row() for outcome in outcomes),
            "",
            fuzz.table(),
        ]
    )


def run(of_a_kind: int, write: Path | None) -> int:
    """Make the files, run everything, write or print the tables; return the exit status."""
    work = Path(tempfile.mkdtemp(prefix="fuzz"))
    data = work / "data"
    data.mkdir()
    good = make_good(data)
    others = (make_damaged(data, of_a_kind), make_named(data), make_odd(data), make_long(data))
    kinds = {path: kind for part in (good, *others) for path, kind in part.items()}
    fuzz = Fuzz(work, kinds, good)
    outcomes = [fuzz.decode(), fuzz.search(), fuzz.audit(), fuzz.predict()]
    text = markdown(fuzz, outcomes, "make fuzz" if write else " ".join(sys.argv))
    if write:
        write.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    failed = [outcome for outcome in outcomes if outcome.failed]
    for outcome in failed:
        print(f"{outcome.name} failed in {work}:\n{outcome.done.complaint}", file=sys.stderr)
    if not failed:
        (data / "no files" / "closed").chmod(0o700)
        shutil.rmtree(work)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of-a-kind", type=int, default=550, help="broken files of each kind (%(default)s)")
    parser.add_argument("--write", type=Path, help="file for the tables (default: they are printed)")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "SEED", "FILE"), help="make one broken file again")
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of_a_kind < 1:
        parser.error("--of-a-kind: 1 or more")
    if given.write and not given.write.parent.is_dir():
        parser.error(f"--write {given.write}: its folder does not exist")
    if given.decode:
        decode(given.decode)
    elif given.one:
        kind, seed, file = given.one
        if kind not in KINDS or not seed.isdecimal():
            parser.error(f"--one {kind!r} {seed}: expected a kind ({', '.join(KINDS)}) and a number")
        Path(file).write_bytes(broken(kind, int(seed)))
    else:
        return run(given.of_a_kind, given.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
