import errno
import subprocess
import sys

import pytest

from ser_tune.command import disk_is_full

COMMANDS = ["search", "extract", "audit", "predict"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_without_importing_what_is_slow(command: str) -> None:
    arguments = [sys.executable, "-X", "importtime", "-m", f"ser_tune.{command}", "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python -m ser_tune.{command}" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tyro" in imported
    assert not imported & {"ray", "torch", "librosa", "sklearn", "pandas", "matplotlib", "soundfile", "pyarrow"}


def program(body: str) -> subprocess.CompletedProcess[str]:
    script = f"""
from dataclasses import dataclass
from ser_tune.command import run
from ser_tune.errors import InputError, RunError
__file__ = "demo.py"
@dataclass(frozen=True)
class Config:
    number: int = 0
    resume_hint = "run the same command again"
def main(config):
    {body}
run(main, Config)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("raise InputError('one' + chr(10) + 'line')", 2, "error: one line"),
        ("raise InputError('a name' + chr(27) + '[2J')", 2, "error: a name\\x1b[2J"),
        ("raise RunError('it failed')", 1, "error: it failed"),
        (
            "from ray.exceptions import RayTaskError as E; "
            "raise E('f', 'Traceback: a lot', RunError('it failed')).as_instanceof_cause()",
            1,
            "error: it failed\n",
        ),
        ("raise OSError(28, 'full', 'here.txt')", 1, "error: no space left on the disk (here.txt); free some"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
            143,
            "SIGTERM received. run the same command again",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", 130, "SIGINT received. run the same command again"),
    ],
)
def test_an_end_is_one_line_and_its_exit_status(body: str, status: int, said: str) -> None:
    done = program(body)
    assert done.returncode == status
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_signal_that_comes_in_a_destructor_is_answered_all_the_same() -> None:
    done = program(
        "import os, signal, time; "
        "D = type('D', (), {'__del__': lambda self: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(1))}); "
        "D(); time.sleep(60)"
    )
    assert done.returncode == 143
    assert done.stderr == "SIGTERM received. run the same command again\n"


@pytest.mark.parametrize(("ending", "status"), [("pass", 0), ("raise RunError('it failed')", 1)])
def test_a_signal_that_comes_when_all_is_done_changes_nothing(ending: str, status: int) -> None:
    done = program(f"import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT); {ending}")
    assert done.returncode == status
    assert done.stderr == ("error: it failed\n" if status else "")


@pytest.mark.parametrize(
    "answer",
    ["raise SystemError('wrapped')", "pass  # hangs, and no signal gets through", "raise RuntimeError('lost')"],
)
def test_a_signal_ends_the_command_whatever_the_code_below_makes_of_it(answer: str) -> None:
    body = f"""
    import os, signal, time
    def wait():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    try:
        wait()
    except BaseException:
        time.sleep(0.5)
        {answer}
        time.sleep(60)
"""
    done = program(body)
    assert done.returncode == 143
    assert done.stderr == "SIGTERM received. run the same command again\n"


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    done = program("raise ZeroDivisionError('ours')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_full_disk_is_recognised_behind_other_errors() -> None:
    failed = RuntimeError("worker failed")
    failed.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk_is_full(failed)
    assert not disk_is_full(OSError(errno.EACCES, "Permission denied"))
    assert not disk_is_full(None)
