import io
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from ser_tune.audio import describe, probe, read_audio, read_blocks
from ser_tune.errors import AudioError

SOUND = (0.3 * np.sin(np.arange(16000) / 20)).astype(np.float32)


def wav(samples: npt.NDArray[Any] = SOUND, container: str = "WAV", subtype: str | None = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16000, format=container, subtype=subtype)
    return buffer.getvalue()


def promising(n_samples: int) -> bytes:
    """A FLAC of 16000 samples whose header tells another number, of 36 bits."""
    content = bytearray(wav(container="FLAC"))
    content[21] = content[21] & 0xF0 | n_samples >> 32
    content[22:26] = struct.pack(">I", n_samples % 2**32)
    return bytes(content)


def stored(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"some text\n" * 30, "not decodable as audio"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git-LFS pointer"),
        (wav(SOUND[:0]), "holds no samples"),
        (wav(np.array([0.1, np.nan], np.float32), subtype="FLOAT"), "not finite"),
        (wav()[:9000], "cut short: its header promises 32000 bytes of samples, 8956 are there"),
        (wav(container="AIFF")[:9000], "cut short"),
        (promising(2**36 - 1), "cut short: its header promises 68719476735 samples"),
        (promising(16001), "cut short: its header promises 16001 samples, 16000 are there"),
        (wav()[:24] + struct.pack("<I", 7) + wav()[28:], "claims 7 samples a second; expected 1000 to 1000000"),
        (wav(np.full(9, 3e9), subtype="FLOAT"), "holds samples of 3e+09 times full scale"),
        (b"\xf0\x7e\x00\x01" + bytes(2000), "not decodable as audio"),
        (b"ID3\4\0\0\0\0\0\0" + b"\xf0\x7e\x00\x01" + bytes(2000), "not decodable as audio"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",  # WAVs of floats hold the time
)
def test_what_cannot_be_used_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = stored(tmp_path, content)
    with pytest.raises(AudioError, match=re.escape(reason)):
        read_audio(path)
    with pytest.raises(AudioError, match=re.escape(reason)):
        list(read_blocks(path))
    assert reason in probe(path).error


def test_a_file_that_is_not_there_is_named_as_such(tmp_path: Path) -> None:
    assert probe(tmp_path / "none.wav").error == "cannot be opened (No such file or directory)"


def test_a_wav_written_to_a_pipe_does_not_know_its_size_and_is_whole(tmp_path: Path) -> None:
    content = bytearray(wav())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    waveform, _ = read_audio(stored(tmp_path, bytes(content)))
    assert len(waveform) == len(SOUND)


def test_a_flac_written_to_a_pipe_does_not_know_its_length_and_is_whole(tmp_path: Path) -> None:
    waveform, _ = read_audio(stored(tmp_path, promising(0)))
    assert len(waveform) == len(SOUND)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert probe(tmp_path / "pipe.wav").error == "cannot be opened (Not a regular file)"
    assert probe("/dev/zero").error == "cannot be opened (Not a regular file)"
    assert probe(tmp_path).error == "cannot be opened (Is a directory)"


def test_what_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not probe(stored(tmp_path, wav())).error
    monkeypatch.setattr("ser_tune.audio._LONGEST_S", 0.9)
    assert probe(stored(tmp_path, wav())).error.startswith("longer than 24 h")


def test_a_few_tags_may_stand_before_the_audio(tmp_path: Path) -> None:
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    assert read_audio(stored(tmp_path, tag + wav(container="FLAC")))[1] == 16000
    assert probe(stored(tmp_path, 99 * tag + wav(container="FLAC"))).error == "not decodable as audio"


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "ULAW", "PCM_24", "DOUBLE"])
def test_every_kind_of_wav_is_read(tmp_path: Path, subtype: str) -> None:
    waveform, _ = read_audio(stored(tmp_path, wav(subtype=subtype)))
    np.testing.assert_allclose(waveform[: len(SOUND), 0], SOUND, atol=0.15)  # GSM shifts


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC"])
def test_the_content_counts_and_not_the_extension(tmp_path: Path, container: str) -> None:
    waveform, sample_rate = read_audio(stored(tmp_path, wav(container=container)))
    assert sample_rate == 16000
    np.testing.assert_allclose(waveform[:, 0], SOUND, atol=1e-4)


def test_the_hash_covers_samples_channels_and_rate_but_not_the_container(tmp_path: Path) -> None:
    integers = (SOUND * 32767).astype(np.int16)
    of_wav = probe(stored(tmp_path, wav(integers))).sha256
    assert probe(stored(tmp_path, wav(integers, container="FLAC"))).sha256 == of_wav
    stereo, mono = SOUND.reshape(-1, 2), SOUND.reshape(-1, 1)
    assert len({describe([block]).sha256 for block in ((mono, 16000), (stereo, 16000), (mono, 8000))}) == 3


def test_a_constant_offset_is_no_sound_and_a_quiet_voice_is(tmp_path: Path) -> None:
    assert describe([(np.full((800, 1), 0.25, np.float32), 16000)]).silent
    quiet = (SOUND * (0.00065 / np.sqrt(np.mean(SOUND**2)))).reshape(-1, 1)  # RAVDESS's quietest clips
    assert not describe([(quiet, 16000)]).silent


def test_facts_do_not_depend_on_where_blocks_end() -> None:
    stereo = np.random.default_rng(0).uniform(-1, 1, (9000, 2)).astype(np.float32)
    parts = [(part, 16000) for part in np.split(stereo, [1, 4000, 8999])]
    assert describe(parts) == describe([(stereo, 16000)])
    assert describe(parts).peak == pytest.approx((stereo.max(axis=0) - stereo.min(axis=0)).max() / 2)


def test_blocks_together_are_the_whole_recording(tmp_path: Path) -> None:
    long = np.random.default_rng(0).uniform(-1, 1, (16000 * 25, 2)).astype(np.float32)
    path = stored(tmp_path, wav(long))
    blocks = [block for block, _ in read_blocks(path)]
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path)[0])
