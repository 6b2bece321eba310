"""Files that are whole or absent: atomic replacement, durable appends, locks between processes."""

import errno
import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from ser_tune.errors import InputError

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


def require_writable(folder: Path, flag: str) -> None:
    """Make the folder, and raise InputError, which names `flag`, where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another {flag}") from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, rename it to `path`.

    A reader sees the old file or the new one, never a part; the temporary file goes on failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(4)}-{path.name}"
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8), atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, atomically; nan and infinity raise ValueError."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """The value as the text of a JSON file; nan and infinity raise ValueError."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_regular(path: Path, sizes: range, expected: str) -> bytes:
    """The content of a file that others wrote; InputError unless it is a regular one of these sizes [bytes].

    Nothing is waited for: beside pipes there are regular files, below /proc, that come to no end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size not in sizes:
                raise InputError(f"{path} has {status.st_size} bytes; expected {expected}, {sizes[-1]} at most")
            with FileIO(descriptor, closefd=False) as file:
                return file.read(status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to the disk; a torn last line, which a kill can leave, is cut off first.

    The line is on the disk whole when this returns. If the disk is full, what was written of it is taken back.
    """
    # Unbuffered: a buffer that could not be written would be written after all when the file is closed.
    with path.open("ab+", buffering=0) as file:
        end = _end_of_whole_lines(file)
        file.truncate(end)
        rest = line.encode() + b"\n"
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that append_line made, without a torn last one."""
    return path.read_bytes().split(b"\n")[:-1]


def _end_of_whole_lines(file: FileIO) -> int:
    """Size of the file up to and with its last newline [bytes]."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            end = file.read().rfind(b"\n") + 1
    return end


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (made if absent); the kernel frees it with the process.

    Waits for another holder, or raises InputError with the message `busy` where one is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise InputError(busy) from error
        yield
