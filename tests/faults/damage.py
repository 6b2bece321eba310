"""Files that are cut short, zeroed or bit-flipped, torn last lines, and recordings that change or vanish.

Each case damages a copy of the undisturbed experiment and runs the same command again.
"""

import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import Bench, Row
from searches import Place, Search

Damage = Callable[[Path, random.Random], None]


def cut_short(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def zero(path: Path, _rng: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def remove(path: Path, _rng: random.Random) -> None:
    path.unlink()


DAMAGES: tuple[Damage, ...] = (cut_short, zero, flip_bit, remove)


def _copy(bench: Bench, name: str) -> Place:
    """The undisturbed experiment, in a folder of its own."""
    place = bench.place(name)
    shutil.copytree(bench.undisturbed().root, place.root)
    return place


def _shards(place: Place) -> list[Path]:
    return sorted(place.cache.glob("*/[0-9a-f]*.parquet"))


def damage_shards(bench: Bench) -> list[Row]:
    """Every kind of damage at once, below a finished experiment, below a new one, and while one runs."""
    row, rng = Row("Cache files cut short, zeroed, bit-flipped, removed"), bench.rng()
    for name in ("finished", "new"):
        place = _copy(bench, f"shards-{name}")
        if name == "new":
            shutil.rmtree(place.folder.root)
        hit = rng.sample(_shards(place), len(DAMAGES))
        for damage, shard in zip(DAMAGES, hit, strict=True):
            damage(shard, rng)
            row.moments[f"below a {name} experiment"] += 1
        search = bench.finish(row, place)
        for shard in hit:
            row.expect(f"{shard.name} was damaged or gone" in search.said, f"no word of {shard.name}", search)
    _damage_while_it_runs(bench, row, rng)
    return [row]


def _damage_while_it_runs(bench: Bench, row: Row, rng: random.Random) -> None:
    place = bench.place("shards-running")
    shutil.copytree(bench.undisturbed().cache, place.cache)
    for damage in DAMAGES:
        search = place.start()
        row.hit(search.strike("search", bench.spans["grid"]["search"], rng, partial(_damage_any, place, damage, rng)))
        status, said = search.end(), search.said
        told = status == 0 or "run the same command again" in said.splitlines()[-1]
        row.expect(told and "Traceback" not in said, f"exit status {status} without a line that tells why", search)
        if status:
            row.happened["exit 1, `... is damaged (...); run the same command again`"] += 1
    bench.finish(row, place)


def _damage_any(place: Place, damage: Damage, rng: random.Random, _search: Search) -> None:
    damage(rng.choice(_shards(place)), rng)


def damage_files(bench: Bench) -> list[Row]:
    """What else must be read again: refused with the file's name, or made anew."""
    row, rng = Row("Other files cut short, zeroed"), bench.rng()
    place = _copy(bench, "files")
    folder, bundle = place.folder, place.folder.bundle
    [manifest] = place.cache.glob("*/manifest.json")
    made_anew = (folder.selection, folder.candidates, bundle / "model.safetensors", bundle / "bundle.json")
    for path in (manifest, folder.config, folder.test, *made_anew):
        for damage in (cut_short, zero):
            whole = path.read_bytes()
            damage(path, rng)
            row.moments[path.name] += 1
            if path in made_anew:
                bench.finish(row, place)
                continue
            search = place.start()
            status, said = search.end(), search.said.strip()
            refused = status == 2 and f"{path.name} is damaged" in said and "\n" not in said.rpartition("error: ")[2]
            row.expect(refused and "Traceback" not in said, f"exit status {status}, not refused", search)
            row.happened["exit 2, `... is damaged ...`"] += 1
            path.write_bytes(whole)
    bench.finish(row, place)
    return [row]


def tear_lines(bench: Bench) -> list[Row]:
    """trials.jsonl as a kill can leave it, its last line torn; and a damaged line in its midst."""
    row, rng = Row("Torn last line, damaged line in trials.jsonl"), bench.rng()
    place = _copy(bench, "lines")
    trials = place.folder.trials
    whole = trials.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for torn, what in (
        (whole + whole[last : rng.randrange(last + 1, len(whole) - 1)], "begun line"),
        (whole[: rng.randrange(last + 1, len(whole) - 1)], "torn last line"),
    ):
        trials.write_bytes(torn)
        row.moments[what] += 1
        bench.finish(row, place)
    whole = trials.read_bytes()
    middle = bytearray(whole)
    middle[rng.randrange(last)] = 0
    trials.write_bytes(middle)
    row.moments["damaged line"] += 1
    search = place.start()
    status = search.end()
    refused = status == 2 and "is damaged" in search.said and "delete that line and run again" in search.said
    row.expect(refused, f"exit status {status}, expected a line that refuses", search)
    row.happened["exit 2, `line N of ... is damaged (...); delete that line and run again`"] += 1
    trials.write_bytes(whole)
    bench.finish(row, place)
    return [row]
