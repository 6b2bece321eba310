"""Broken recordings, made from a kind of damage and a seed, so that one which does harm can be made again alone.

The same pair gives the same bytes, but for the serial number of an OGG and the time in headers of floats. No recording
is read: the sound is noise, encoded in all that libsndfile writes.
"""

import io
import struct
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import numpy.typing as npt
import soundfile

Random = np.random.Generator

# What people have; libsndfile writes some twenty more.
COMMON = ("WAV", "WAVEX", "AIFF", "FLAC", "OGG", "MP3")
EXTREME = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
RATES = (4000, 8000, 11025, 16000, 24414, 44100, 96000, 192000, 384000)


def broken(kind: str, seed: int) -> bytes:
    """The content of the file number `seed` of a kind in KINDS."""
    random = np.random.default_rng([seed, *kind.encode()])
    return KINDS[kind](random)


def sound(random: Random, n_samples: int, channels: int = 1) -> npt.NDArray[np.float64]:
    """Noise that swells and fades [samples, channels]."""
    swell = np.sin(np.linspace(0, np.pi, n_samples))[:, None]
    return np.asarray(0.4 * swell * random.uniform(-1, 1, (n_samples, channels)))


def encode(samples: npt.NDArray[np.float64], sample_rate: int, container: str, subtype: str | None) -> bytes:
    """The samples as a file; LibsndfileError where the container does not take such."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format=container, subtype=subtype)
    return file.getvalue()


@cache
def _encodings(only: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Containers and sample formats that can be written (SD2 keeps its header in a second file)."""
    containers = only or tuple(name for name in soundfile.available_formats() if name not in ("RAW", "SD2"))
    pairs = [(name, subtype) for name in containers for subtype in soundfile.available_subtypes(name)]
    return [pair for pair in pairs if _try_encode(*pair, 0)]


@cache
def _try_encode(container: str, subtype: str, variant: int) -> bytes:
    """A short valid file, b"" where libsndfile cannot write it; the channels alternate where two are taken."""
    random = np.random.default_rng(variant)
    for channels, sample_rate in ((1 + variant % 2, 16000), (1, 8000)):
        try:
            return encode(sound(random, 3000, channels), sample_rate, container, subtype)
        except (soundfile.LibsndfileError, ValueError):
            continue
    return b""


def _valid(random: Random) -> bytearray:
    """A valid file: one of the common containers as often as any of the others."""
    pairs = _encodings(COMMON if random.random() < 0.7 else ())
    return bytearray(_try_encode(*pairs[random.integers(len(pairs))], int(random.integers(4))))


def _cut(random: Random) -> bytes:
    """Cut within the header, or anywhere."""
    content = _valid(random)
    return bytes(content[: random.integers(100 if random.random() < 0.5 else len(content))])


def _flipped(random: Random) -> bytes:
    """A few bits are the others, half of them in the header."""
    content = _valid(random)
    for _ in range(int(2 ** random.uniform(0, 6))):
        place = random.integers(min(200, len(content)) if random.random() < 0.5 else len(content))
        content[place] ^= 1 << int(random.integers(8))
    return bytes(content)


def _sizes(random: Random) -> bytes:
    """Some fields of the header hold extreme values, of 2 or 4 bytes and of either byte order."""
    content = _valid(random)
    for _ in range(int(random.integers(1, 4))):
        layout = str(random.choice(["<I", ">I", "<H", ">H"]))
        field = struct.pack(layout, int(random.choice(EXTREME)) % 2 ** (8 * struct.calcsize(layout)))
        place = int(random.integers(0, 64)) * 2
        content[place : place + len(field)] = field
    return bytes(content)


def _spliced(random: Random) -> bytes:
    """The beginning of one file and the end of another, a stretch repeated, or a stretch gone."""
    content, other = _valid(random), _valid(random)
    first, second = sorted(int(place) for place in random.integers(0, len(content), 2))
    ways = [
        content[:second] + other[random.integers(len(other)) :],
        content[:second] + content[first:second] * int(random.integers(1, 20)) + content[second:],
        content[:first] + content[second:],
    ]
    return bytes(ways[random.integers(3)])


def _overwritten(random: Random) -> bytes:
    """A stretch of random bytes, or of one byte."""
    content = _valid(random)
    first, length = int(random.integers(len(content))), int(2 ** random.uniform(0, 10))
    stretch = random.bytes(length) if random.random() < 0.5 else bytes([random.integers(256)]) * length
    content[first : first + length] = stretch
    return bytes(content)


def _not_finite(random: Random) -> bytes:
    """Floats that are not numbers, infinite, or too large for single precision."""
    samples = sound(random, 4000, int(random.integers(1, 9)))
    bad = random.choice([np.nan, np.inf, -np.inf, 3e38, -1e300])
    samples[random.integers(len(samples), size=int(random.integers(1, 50)))] = bad
    return encode(samples, 16000, str(random.choice(["WAV", "AIFF", "W64"])), str(random.choice(["FLOAT", "DOUBLE"])))


def _few_samples(random: Random) -> bytes:
    """None, one or a few."""
    pairs = _encodings(("WAV", "AIFF", "FLAC", "OGG", "MP3"))
    container, subtype = pairs[random.integers(len(pairs))]
    if subtype.startswith("NMS"):  # libsndfile crashes where it writes none
        subtype = "PCM_24"
    return encode(sound(random, int(random.integers(0, 4))), 16000, container, subtype)


def _formats(random: Random) -> bytes:
    """Nothing is damaged: 4 to 384 kHz, 1 to 8 channels, all depths and containers, some silent."""
    samples = sound(random, int(random.integers(1, 9000)), int(random.integers(1, 9)))
    samples *= random.choice([0.0, 1e-6, 1.0, 1.0, 1.0])
    while True:
        pairs = _encodings(COMMON)
        container, subtype = pairs[random.integers(len(pairs))]
        # libsndfile crashes where it writes Vorbis of high rates.
        sample_rate = int(random.choice(RATES if container != "OGG" else RATES[:6]))
        try:
            return encode(samples, sample_rate, container, subtype)
        except soundfile.LibsndfileError:  # MP3 and ADPCM take two channels at most
            samples = samples[:, : max(1, samples.shape[1] // 2)]


def _promises(random: Random) -> bytes:
    """A whole header that promises what no file holds: rates of 4e9, 1024 channels, 2**31 samples and more."""
    ways = [_wav_header, _flac_header, _aiff_header]
    return ways[random.integers(3)](random)


def _wav_header(random: Random) -> bytes:
    channels = int(random.choice([1, 2, 8, 255, 256, 1024, 1025, 65535]))
    rate = int(random.choice([1, 2, 100, 16000, 10**6, 2**31 - 1, 2**31, 4 * 10**9]))
    width = int(random.choice([1, 2, 3, 4, 8]))
    kind = int(random.choice([1, 3, 6, 0xFFFE]))
    promised = int(random.choice([0, 2, 2**20, 2**31 - 2, 2**31, 2**32 - 1]))
    form = struct.pack("<HHIIHH", kind, channels, rate, 16000, channels * width % 2**16, 8 * width)
    data = b"data" + struct.pack("<I", promised) + random.bytes(int(random.integers(0, 3000)))
    return b"RIFF" + struct.pack("<I", promised) + b"WAVEfmt " + struct.pack("<I", 16) + form + data


def _flac_header(random: Random) -> bytes:
    """STREAMINFO: 20 bits of rate, 3 of channels, 5 of depth, 36 of samples; then the frames of a valid file."""
    content = bytearray(_try_encode("FLAC", "PCM_16", int(random.integers(4))))
    rate, channels = int(random.choice([1, 7, 16000, 655350, 2**20 - 1])), int(random.integers(8))
    promised = int(random.choice([0, 1, 3001, 2**31, 2**36 - 1]))
    content[18:26] = (rate << 44 | channels << 41 | 15 << 36 | promised).to_bytes(8, "big")
    return bytes(content)


def _aiff_header(random: Random) -> bytes:
    """COMM: channels, frames, bits, and the rate as an 80 bit float; then SSND."""
    channels, frames = int(random.choice([1, 8, 1024, 65535])), int(random.choice([1, 2**31 - 1, 2**32 - 1]))
    rate = struct.pack(">HQ", int(random.choice([0x3FFF, 0x400C, 0x401E, 0x4020, 0x7FFF])), 0xFA << 56)
    comm = struct.pack(">hIh", channels - 2**16 if channels >= 2**15 else channels, frames, 16) + rate
    ssnd = b"SSND" + struct.pack(">III", int(random.choice(EXTREME)), 0, 0) + random.bytes(2000)
    return b"FORM" + struct.pack(">I", int(random.choice(EXTREME))) + b"AIFFCOMM" + struct.pack(">I", 18) + comm + ssnd


def _no_audio(random: Random) -> bytes:
    """Text, a web page, an archive, a pointer, nothing, zeros, noise."""
    ways = [
        b"",
        b"path,emotion\n" * int(random.integers(1, 99)),
        b"<!DOCTYPE html><title>404</title>" + random.bytes(int(random.integers(99))),
        b"PK\x03\x04" + random.bytes(int(random.integers(2000))),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + random.bytes(32).hex().encode(),
        bytes(int(random.integers(1, 5000))),
        random.bytes(int(random.integers(1, 5000))),
        [b"RIFF", b"FORM", b"fLaC", b"OggS", b"ID3", b"\xff\xfb\x90"][random.integers(6)] + random.bytes(500),
    ]
    return ways[random.integers(len(ways))]


KINDS: Mapping[str, Callable[[Random], bytes]] = {
    "cut": _cut,
    "bits flipped": _flipped,
    "sizes of chunks and fields": _sizes,
    "spliced": _spliced,
    "overwritten": _overwritten,
    "not finite": _not_finite,
    "no or few samples": _few_samples,
    "depths, channels, rates, containers": _formats,
    "absurd promises": _promises,
    "no audio": _no_audio,
}
