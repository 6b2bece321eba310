import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_tune.errors import InputError
from ser_tune.files import append_line, lock, read_regular, whole_lines, write_atomically, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_json_refuses_what_json_has_no_word_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8")), max_size=5), cut=st.integers(0, 40)
)
def test_whole_lines_survive_any_cut_and_the_next_append_starts_clean(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "lines"
    path.touch()
    for line in lines:
        append_line(path, line)
    content = path.read_bytes()
    os.truncate(path, max(0, len(content) - cut))
    survived = content[: max(0, len(content) - cut)].count(b"\n")
    assert whole_lines(path) == [line.encode() for line in lines[:survived]]
    append_line(path, "next")
    assert whole_lines(path) == [line.encode() for line in [*lines[:survived], "next"]]


def test_a_full_disk_takes_back_what_was_written_of_a_line(tmp_path: Path) -> None:
    # A limit on the file's size fails a write half-way, as a full disk does.
    script = f"""
import resource, signal
from pathlib import Path
from ser_tune.files import append_line
path = Path({str(tmp_path / "lines")!r})
append_line(path, "a" * 50)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (80, resource.RLIM_INFINITY))
try:
    append_line(path, "b" * 50)
except OSError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    assert (tmp_path / "lines").read_bytes() == b"a" * 50 + b"\n"


def test_a_lock_is_held_by_one_process_and_freed_when_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = f"from pathlib import Path\nfrom ser_tune.files import lock\nwith lock(Path({str(path)!r})):\n"
    script += "    print('held', flush=True)\n    input()"
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="busy elsewhere"), lock(path, busy="busy elsewhere"):
        pass
    holder.kill()
    holder.wait()
    with lock(path, busy="busy elsewhere"):
        pass


def test_only_regular_files_of_an_expected_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "five").write_text("12345")
    os.mkfifo(tmp_path / "pipe")
    assert read_regular(tmp_path / "five", range(1, 6), "five") == b"12345"
    for name, message in (
        ("five", "has 5 bytes; expected less, 4 at most"),
        ("pipe", "has 0 bytes"),
        ("no", "No such"),
    ):
        with pytest.raises(InputError, match=message):
            read_regular(tmp_path / name, range(5), "less")
