"""What all commands share: parsing, one-line errors with their exit status, signals.

Exit status: 0 done; 2 configuration or input; 1 the run failed; 130 and 143 after Ctrl-C and SIGTERM.
"""

import contextlib
import errno
import gc
import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from ser_tune.errors import Interrupted, SerTuneError
from ser_tune.signals import received

Config = TypeVar("Config")
_OBJECTS_MADE = 10_000  # before garbage is searched for; by Python's 700 a tenth of the time that imports take
_AGAIN_S = 0.01
GRACE_S = 6.0  # for Ray to end its processes; usually 2 to 5
_BOX_LINE = re.compile(r"[│╭╮╰╯]")


def run(main: Callable[[Config], None], config_class: type[Config]) -> None:
    """Parse the command line into `config_class`, call `main` with it, exit with its status.

    The program's name and description in --help come from `main`'s module and its docstring.
    """
    gc.set_threshold(_OBJECTS_MADE)
    module = sys.modules[main.__module__]
    program = f"python -m ser_tune.{Path(str(module.__file__)).stem}"
    hint = ""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        sys.unraisablehook = _interrupt_again
        config = _parse(config_class, program, module.__doc__ or "")
        hint = getattr(config, "resume_hint", "")
        _end_in_any_case(hint)
        threading.excepthook = _silence_full_disk
        main(config)
        _let_python_end()
    except Interrupted as error:
        _end_by(error.signal_number, hint)
    except SerTuneError as error:
        raised = getattr(error, "cause", error)  # where a task of Ray raised it, without the task's traceback
        _exit(f"error: {raised}", error.exit_status)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if received:  # Ray's code wraps what a signal raises inside it, or fails as its processes end
            _end_by(received[0], hint)
        if disk_is_full(error):
            _exit(f"error: no space left on the disk{_where(error)}; free some and run the same command again", 1)
        if _is_failure_of_ray(error):
            _exit(f"error: Ray failed ({type(error).__name__}: {str(error).splitlines()[0]}). {hint}", 1)
        raise


def _end_by(signal_number: int, hint: str) -> NoReturn:
    _exit(_farewell(signal_number, hint), 128 + signal_number)


def _farewell(signal_number: int, hint: str) -> str:
    return f"{signal.Signals(signal_number).name} received. {hint}".strip()


def _end_in_any_case(hint: str) -> None:
    """End GRACE_S after Ctrl-C or SIGTERM even where the main thread hangs in compiled code.

    It does where the signal went to Ray's processes too, as schedulers send it: it waits a minute for them.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        number = 0
        while number not in (signal.SIGINT, signal.SIGTERM):
            number = os.read(reader, 1)[0]
        received.append(number)
        time.sleep(GRACE_S)
        print(_farewell(number, hint), file=sys.stderr, flush=True)
        os._exit(128 + number)

    threading.Thread(target=watch, daemon=True).start()


def _is_failure_of_ray(error: Exception) -> bool:
    """A lost node, a worker killed for its memory and the like; not an exception that a task raised."""
    kind = type(error)
    return kind.__module__ == "ray.exceptions" and not kind.__name__.startswith("RayTaskError")


def _silence_full_disk(hook: Any) -> None:
    """TensorBoard's writer thread reports a full disk on its own, before the main thread can say it in a line."""
    if not disk_is_full(hook.exc_value):
        threading.__excepthook__(hook)


def _interrupt(signal_number: int, _frame: Any) -> None:
    raise Interrupted(signal_number)


def _interrupt_again(hook: Any) -> None:
    """Send the signal once more where Python ignored what it raised, in a destructor or in a callback of weakref."""
    if not isinstance(hook.exc_value, Interrupted):
        sys.__unraisablehook__(hook)
        return
    again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), hook.exc_value.signal_number))
    again.daemon = True
    again.start()


def _let_python_end() -> None:
    """All is done or said: a signal that comes while Python takes itself down would only spoil the exit status.

    Nor is what it still holds worth a search for garbage, 0.6 s after a search of hyperparameters.
    """
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _exit(message: str, status: int) -> NoReturn:
    _let_python_end()
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(message.split()))
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    raise SystemExit(status)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether the error, or what caused it, is a full disk or quota; Ray wraps what its workers raise."""
    return any(
        (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT))
        or "No space left on device" in str(one)
        for one in chain_of(error)
    )


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__


def _where(error: Exception) -> str:
    return f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""


def _parse(config_class: type[Config], program: str, description: str) -> Config:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(config_class, prog=program, description=description, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as error:
        if error.code in (0, None):
            raise
        _exit(f"error: {_in_one_line(complaint.getvalue())}; see {program} --help", 2)


def _in_one_line(box: str) -> str:
    """What tyro's framed complaint says, and the first flag it proposes instead, without the frame."""
    lines = [_BOX_LINE.sub("", line).strip() for line in box.splitlines()[1:-1]]
    rules = [index for index, line in enumerate(lines) if line.startswith("──")] or [len(lines)]
    message = " ".join(lines[: rules[0]]).rstrip(".")
    meant = re.search(r"Perhaps you meant:\s+(--\S+)", " ".join(lines))
    return f"{message}; did you mean {meant.group(1)}?" if meant else message
