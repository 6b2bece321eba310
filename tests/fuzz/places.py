"""Folders of broken recordings: damaged contents, awkward names, what is no file, hours of silence, and good ones.

Each function writes below the folder `data` and returns, for every path, the line of the table it counts in. Every
file has a name by which TESS is known, where its name is not the point.
"""

import os
import socket
from pathlib import Path

import numpy as np
import soundfile
from mutations import KINDS, broken, encode, sound

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
NAMES = [
    b"two words", b"'quotes' \"double\"", b"new\nline", "emoji 😀".encode(), b"not utf-8 \xff\xfe", b"-dash",
    b"$(touch x)", b"a,b;c", b"\x1b[31mred", b"%s%n", b"...", "\u202eright to left".encode(), b"tab\t", b"x" * 200,
    b"*?[a]",
]  # fmt: skip


def good_recording(seed: int) -> bytes:
    """Half a second of noise, like no other."""
    return encode(sound(np.random.default_rng(seed), 8000), 16000, "WAV", "PCM_16")


def letters(number: int) -> str:
    """The number as a word that TESS could have."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def make_damaged(data: Path, of_a_kind: int) -> dict[bytes, str]:
    """So many files of every kind of damage."""
    made = {}
    for kind in KINDS:
        (data / kind).mkdir()
        for seed in range(of_a_kind):
            path = data / kind / f"OAF_{letters(seed)}_{EMOTIONS[seed % 7]}.wav"
            path.write_bytes(broken(kind, seed))
            made[os.fsencode(path)] = kind
    return made


def make_good(data: Path) -> dict[bytes, str]:
    """Enough recordings that nothing is wrong with for a search."""
    (data / "good").mkdir()
    made = {}
    for number in range(56):
        path = data / "good" / f"YAF_{letters(number)}_{EMOTIONS[number % 7]}.wav"
        path.write_bytes(good_recording(number))
        made[os.fsencode(path)] = "good"
    return made


def make_named(data: Path) -> dict[bytes, str]:
    """Good recordings with names that programs stumble over, of the file or of its folder."""
    made = {}
    for number, name in enumerate(NAMES):
        folder = data / "names" / os.fsdecode(name)
        folder.mkdir(parents=True)
        for other, file in enumerate((f"OAF_{letters(number)}_sad", os.fsdecode(name))):
            (folder / f"{file}.wav").write_bytes(good_recording(1000 + 2 * number + other))
            made[os.fsencode(folder / f"{file}.wav")] = "names: quotes, newlines, emoji, not UTF-8"
    return made


def make_odd(data: Path) -> dict[bytes, str]:
    """Links in circles, to nowhere and to devices; pipes, sockets, what may not be opened."""
    folder = data / "no files"
    folder.mkdir()
    targets = {"a": "OAF_a_sad.wav", "b": "OAF_c_sad.wav", "c": "OAF_b_sad.wav", "d": "/dev/zero", "e": "nowhere"}
    for letter, target in (targets | {"f": "/proc/self/mem", "g": "."}).items():
        (folder / f"OAF_{letter}_sad.wav").symlink_to(target)
    (folder / "round").symlink_to(data)
    os.mkfifo(folder / "OAF_h_sad.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "OAF_i_sad.wav"))
    (folder / "closed").mkdir()
    for number, name in enumerate(("OAF_j_sad.wav", "closed/OAF_k_sad.wav")):
        (folder / name).write_bytes(good_recording(2000 + number))
    (folder / "OAF_j_sad.wav").chmod(0)
    (folder / "closed").chmod(0)
    # The link to its own folder is one to a folder: in it there is nothing that was not found.
    names = [f"OAF_{letter}_sad.wav" for letter in "abcdefhij"] + ["closed/OAF_k_sad.wav"]
    return {os.fsencode(folder / name): "links, pipes, devices, closed folders" for name in names}


def make_long(data: Path) -> dict[bytes, str]:
    """Hours of silence: compressed, and in files with holes, which take no room on the disk."""
    folder = data / "hours"
    folder.mkdir()
    with soundfile.SoundFile(folder / "OAF_a_sad.wav", "w", 16000, 1, format="FLAC") as file:
        for _ in range(3 * 60):
            file.write(np.zeros(16000 * 60, dtype=np.int16))
    for letter, sample_rate, hours in (("b", 48000, 2), ("c", 1000, 30)):
        with (folder / f"OAF_{letter}_sad.wav").open("wb") as wave:
            rate = sample_rate.to_bytes(4, "little")
            form = b"\1\0\1\0" + rate + rate + b"\1\0\x08\0"
            # To a pipe one writes so: the sizes are the largest there are.
            wave.write(b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data\xff\xff\xff\xff")
            wave.truncate(44 + sample_rate * 3600 * hours)
    return {os.fsencode(folder / f"OAF_{letter}_sad.wav"): "hours of silence" for letter in "abc"}
