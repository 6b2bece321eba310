"""One recording -> its samples and the facts about them: decoded, hashed, never trusted.

Anything libsndfile reads is taken, whatever its extension says. Refused with the reason, as AudioError:
empty files, Git-LFS pointers, what cannot be decoded, no samples, values that are not finite.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from ser_tune.errors import AudioError

SILENCE_PEAK = 1e-4  # -80 dB of full scale; RAVDESS's quietest clips have an RMS of 6.5e-4
_SLACK_BYTES = 1024  # some writers miscount their last chunk by a few
_UNKNOWN_BYTES = 0x7FFFF000  # sizes from here on stand for "until the end"
_LFS_POINTER = b"version https://git-lfs"
_UNREADABLE = (soundfile.LibsndfileError, OSError, RuntimeError, ValueError)
_BLOCK_S = 10
_BLOCK_VALUES = 2**22  # whatever rate and channels a header claims

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True)
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


def read_audio(path: str | Path) -> tuple[Waveform, int]:
    """Return samples [samples, channels], full scale 1.0, and the sample rate [Hz]; raise AudioError."""
    try:
        # As bytes: soundfile would refuse a name that is not UTF-8.
        with soundfile.SoundFile(os.fsencode(path)) as file:
            _refuse_cut_short(file)
            waveform, sample_rate = file.read(dtype="float32", always_2d=True), file.samplerate
    except _UNREADABLE as error:
        raise AudioError(_why_unreadable(Path(path))) from error
    if len(waveform) == 0:
        raise AudioError("holds no samples")
    if not np.isfinite(waveform).all():
        raise AudioError("holds samples that are not finite numbers")
    return waveform, int(sample_rate)


def read_blocks(path: str | Path) -> Iterator[tuple[Waveform, int]]:
    """Yield what read_audio would return, 10 s at a time, so that length costs no memory; raise AudioError."""
    empty = True
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            _refuse_cut_short(file)
            n_samples = max(1, min(_BLOCK_S * file.samplerate, _BLOCK_VALUES // file.channels))
            while len(block := file.read(n_samples, dtype="float32", always_2d=True)):
                if not np.isfinite(block).all():
                    raise AudioError("holds samples that are not finite numbers")
                empty = False
                yield block, file.samplerate
    except _UNREADABLE as error:
        raise AudioError(_why_unreadable(Path(path))) from error
    if empty:
        raise AudioError("holds no samples")


def _refuse_cut_short(file: soundfile.SoundFile) -> None:
    """Raise AudioError if a WAV or AIFF header promises samples that are not there: libsndfile would not tell.

    A recording written to a pipe promises the largest size there is, which says nothing.
    """
    promise = re.search(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if promise:
        promised, found = map(int, promise.groups())
        if found + _SLACK_BYTES < promised < _UNKNOWN_BYTES:
            raise AudioError(f"cut short: its header promises {promised} bytes of samples, {found} are there")


def _why_unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(len(_LFS_POINTER))
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})"
    if not head:
        return "empty file"
    if head == _LFS_POINTER:
        return "Git-LFS pointer instead of audio: run 'git lfs pull' in its clone"
    return "not decodable as audio"


def describe(waveform: Waveform, sample_rate: int) -> AudioFacts:
    """The facts of decoded audio [samples, channels]; sha256 covers samples, channels and rate."""
    digest = hashlib.sha256(f"{sample_rate} {waveform.shape[1]} ".encode())
    digest.update(np.ascontiguousarray(waveform).data)
    peak = float(np.max(waveform.max(axis=0) - waveform.min(axis=0)) / 2)
    return AudioFacts(digest.hexdigest(), len(waveform) / sample_rate, sample_rate, waveform.shape[1], peak)


def probe(path: str | Path) -> AudioFacts:
    """The facts of the recording at `path`; never raises AudioError, `error` holds the reason instead."""
    try:
        return describe(*read_audio(path))
    except AudioError as error:
        return AudioFacts(error=str(error))
