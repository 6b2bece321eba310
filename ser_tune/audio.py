"""One recording -> its samples and the facts about them: decoded, hashed, never trusted.

What it is its content tells, not its extension. Refused with the reason, as AudioError: what is no regular file,
empty files, Git-LFS pointers, what cannot be decoded or was cut short, no samples, values that are not finite, absurd
rates and lengths. Read block by block, neither its length nor what its header promises costs memory.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from ser_tune.errors import AudioError

LARGEST_PEAK = 1e6  # of full scale; recordings of floats may exceed 1
SILENCE_PEAK = 1e-4  # -80 dB of full scale; RAVDESS's quietest clips have an RMS of 6.5e-4
BLOCK_VALUES = 2**22  # whatever rate and channels a header claims
_BLOCK_S = 10
_SLACK_BYTES = 1024  # some writers miscount their last chunk by a few
_UNKNOWN_BYTES = 0x7FFFF000  # sizes from here on stand for "until the end"
_UNKNOWN_SAMPLES = 2**63 - 1  # libsndfile's count for a FLAC that was written to a pipe
_LFS_POINTER = b"version https://git-lfs"
# WAV and its kin, AIFF, FLAC, OGG, MP3, W64, CAF, AU and NIST begin so. libsndfile takes some twenty more for audio,
# which hold no recordings of speech, and of some of them it prints on standard output.
_BEGINNING = re.compile(rb"RIFF|RIFX|RF64|FORM|fLaC|OggS|\xff[\xe0-\xff]|riff|caff|\.snd|dns\.|NIST")
_MOST_TAGS = 9  # that may stand before any of them; a file of nothing else would take as long as it is large
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000  # [Hz]; beyond, a second would be made hours, or nothing
_LONGEST_S = 24 * 3600
_MOST_VALUES = 2**33  # 24 h of 48 kHz stereo: a few kilobytes can hold as much silence as one likes
_UNREADABLE = (soundfile.SoundFileError, OSError, RuntimeError, ValueError)

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What decoding tells of one recording; where `error` is not empty the other fields are void."""

    sha256: str = ""
    duration_s: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    peak: float = 0.0
    error: str = ""

    @property
    def silent(self) -> bool:
        """Whether the recording holds no sound: its peak, any constant offset removed, is below -80 dB."""
        return self.peak < SILENCE_PEAK


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A recording read from its start to its end.

    Where it can, soundfile seeks after each read: lost in a FLAC without a length, a little off in an MP3.
    """

    def seekable(self) -> bool:
        return False


def read_audio(path: str | Path) -> tuple[Waveform, int]:
    """Return samples [samples, channels], full scale 1.0, and the sample rate [Hz]; raise AudioError."""
    blocks, sample_rates = zip(*read_blocks(path), strict=True)
    return np.concatenate(blocks), sample_rates[0]


def read_blocks(path: str | Path) -> Iterator[tuple[Waveform, int]]:
    """Yield samples [samples, channels], full scale 1.0, and the sample rate [Hz], 10 s at a time; raise AudioError."""
    n_read = 0
    with _opened(path) as file:
        at_once = min(_BLOCK_S * file.samplerate, BLOCK_VALUES // file.channels, file.frames)
        most = min(_LONGEST_S * file.samplerate, _MOST_VALUES // file.channels)
        while len(block := _read(file, max(1, at_once))):
            n_read += len(block)
            if n_read > most:
                raise AudioError("longer than 24 h, or than 24 h of 48 kHz stereo: cut it into pieces")
            refuse_beyond_measure(block)
            yield block, file.samplerate
        # Of the others libsndfile counts what is there, or guesses.
        if file.format == "FLAC" and n_read < file.frames < _UNKNOWN_SAMPLES:
            raise AudioError(f"cut short: its header promises {file.frames} samples, {n_read} are there")
    if n_read == 0:
        raise AudioError("holds no samples")


@contextmanager
def _opened(path: str | Path) -> Iterator[_Stream]:
    try:
        # Not by libsndfile, which looks for other files beside a name. The far end of a pipe is not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    try:
        _refuse_no_audio(descriptor)
        with _open_stream(descriptor) as file:
            _refuse_cut_short(file)
            yield file
    finally:
        os.close(descriptor)


def _open_stream(descriptor: int) -> _Stream:
    try:
        file = _Stream(descriptor, closefd=False)
    except _UNREADABLE as error:
        raise AudioError("not decodable as audio") from error
    if not _LOWEST_RATE <= file.samplerate <= _HIGHEST_RATE:
        file.close()
        raise AudioError(f"claims {file.samplerate} samples a second; expected {_LOWEST_RATE} to {_HIGHEST_RATE}")
    return file


def _read(file: _Stream, n_samples: int) -> Waveform:
    """At most so many samples more [samples, channels]."""
    try:
        block: Waveform
        if file.subtype == "PCM_16":  # the same floats, in a fifth of the time that libsndfile takes to make them
            block = file.read(n_samples, dtype="int16", always_2d=True) * np.float32(2**-15)
        else:
            block = file.read(n_samples, dtype="float32", always_2d=True)
    except _UNREADABLE as error:
        raise AudioError("not decodable as audio") from error
    return block


def _refuse_no_audio(descriptor: int) -> None:
    """Raise AudioError unless this is a regular file that begins as audio does."""
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise AudioError(f"cannot be opened ({'Is a directory' if stat.S_ISDIR(mode) else 'Not a regular file'})")
    place, head = 0, _head(descriptor, 0)
    if not head:
        raise AudioError("empty file")
    if head == _LFS_POINTER:
        raise AudioError("Git-LFS pointer instead of audio: run 'git lfs pull' in its clone")
    for _ in range(_MOST_TAGS):
        if head.startswith(b"ID3") and len(head) >= 10:
            place += 10 + sum(byte % 128 << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            head = _head(descriptor, place)
    if not _BEGINNING.match(head):
        raise AudioError("not decodable as audio")


def _head(descriptor: int, place: int) -> bytes:
    try:
        return os.pread(descriptor, len(_LFS_POINTER), place)
    except OSError as error:  # of a failing disk or network
        raise AudioError(f"cannot be opened ({error.strerror})") from error


def refuse_beyond_measure(samples: Waveform) -> None:
    """Raise AudioError where samples are so large that their power would not be a finite number, or are none."""
    peak = np.maximum(samples.max(initial=0), -samples.min(initial=0))
    if not np.isfinite(peak):
        raise AudioError("holds samples that are not finite numbers")
    if peak > LARGEST_PEAK:
        raise AudioError(f"holds samples of {peak:g} times full scale")


def _refuse_cut_short(file: soundfile.SoundFile) -> None:
    """Raise AudioError if a WAV or AIFF header promises samples that are not there: libsndfile would not tell.

    A recording written to a pipe promises the largest size there is, which says nothing.
    """
    promise = re.search(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if promise:
        promised, found = map(int, promise.groups())
        if found + _SLACK_BYTES < promised < _UNKNOWN_BYTES:
            raise AudioError(f"cut short: its header promises {promised} bytes of samples, {found} are there")


def describe(blocks: Iterable[tuple[Waveform, int]]) -> AudioFacts:
    """The facts of decoded audio, blocks [samples, channels] and rate [Hz], one at least.

    sha256 covers samples, channels and rate; it does not depend on where blocks end.
    """
    digest, n_samples = hashlib.sha256(), 0
    highest = lowest = np.float32(0)
    for block, sample_rate in blocks:
        if n_samples == 0:
            digest.update(f"{sample_rate} {block.shape[1]} ".encode())
            highest = lowest = block[0]
        digest.update(np.ascontiguousarray(block).data)
        n_samples += len(block)
        highest, lowest = np.maximum(highest, block.max(axis=0)), np.minimum(lowest, block.min(axis=0))
    peak = float(np.max(highest - lowest) / 2)
    return AudioFacts(digest.hexdigest(), n_samples / sample_rate, sample_rate, block.shape[1], peak)


def probe(path: str | Path) -> AudioFacts:
    """The facts of the recording at `path`; never raises AudioError, `error` holds the reason instead."""
    try:
        return describe(read_blocks(path))
    except AudioError as error:
        return AudioFacts(error=str(error))
