"""A Ray of one's own on this machine, or a running cluster that one names; nothing else is ever joined.

InputError where the cluster cannot be reached. What ray.init does to signal handlers is undone. A Ray of one's own
that loses a process it cannot do without ends this one, with a line that says so.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants, worker

from ser_tune.config import ComputeConfig
from ser_tune.errors import InputError, Interrupted

_REACH_TIMEOUT_S = 10
_NEEDED = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)
_LOOK_S = 0.2
_ANSWER_S = 8.0  # longer than command.GRACE_S, in which a signal is answered in any case
_EXPECTED = "expected HOST:PORT of the head node of a running cluster (ray start --head), or auto on one of its nodes"


@contextmanager
def connect(compute: ComputeConfig, hint: str = "") -> Iterator[None]:
    """Start a local Ray, or join the one at `compute.address`; leave it, or stop one's own, at the end.

    `hint` tells what to do where a Ray of one's own is lost.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ended = threading.Event()
    try:
        _start(compute.address)
        try:
            _put_back(handlers)
            if compute.address is None:
                threading.Thread(target=_end_with_ray, args=(ended, hint), daemon=True).start()
            yield
        finally:
            ended.set()
            ray.shutdown()
    finally:
        _put_back(handlers)


def _end_with_ray(ended: threading.Event, hint: str) -> None:
    """End this process, with one line and status 1, as soon as Ray has lost a process it cannot do without.

    Ray itself notices in 10 to 60 s, and then ends this process from compiled code, without a word or with many.
    """
    processes = worker._global_node.all_processes
    needed = {kind: processes[kind][0].process for kind in _NEEDED}
    while not ended.wait(_LOOK_S):
        for kind, process in needed.items():
            if process.poll() is not None and not ended.wait(_patience_s(process.returncode)):
                how = f"by {signal.Signals(-process.returncode).name}" if process.returncode < 0 else "by itself"
                show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a board hides it
                print(f"{show_cursor}error: Ray's {kind} was ended {how}. {hint}".strip(), file=sys.stderr, flush=True)
                os._exit(1)  # Ray's other processes end with this one


def _patience_s(status: int) -> float:
    """How long to wait for this process to end first: Ctrl-C and SIGTERM may have gone to Ray's processes too."""
    return _ANSWER_S if status >= 0 or -status in (signal.SIGINT, signal.SIGTERM) else 0


def _start(address: str | None) -> None:
    worker.listen_error_messages = _hear_nothing
    if address is not None:
        _join(address)
        return
    _stay_on_loopback()
    try:
        # "local" also where RAY_ADDRESS is set. Ray turns token authentication on and usage reports off by itself.
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except SystemExit as error:
        if error.code != signal.SIGTERM:
            raise
        raise Interrupted(signal.SIGTERM) from error  # how Ray's own handler answers while it starts


def _hear_nothing(_worker: Any, _ended: threading.Event) -> None:
    """In place of Ray's thread that prints paragraphs on standard output when a worker or a node dies.

    The reason comes with the failure of what ran there.
    """


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    """Undo what Ray does to the handlers of signals when it starts and when it ends."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _stay_on_loopback() -> None:
    """Let a Ray of one's own listen on 127.0.0.1 alone, as it does on Windows and macOS, not on all interfaces.

    Ray's switch for that is read when it is imported: set for the processes it starts, replaced in this one.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False


def _join(address: str) -> None:
    if address.startswith("ray://"):
        raise InputError(
            f"--compute.address {address}: Ray Client is not supported; use ray job submit, or {_EXPECTED}"
        )
    if address != "auto":
        _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    # SystemExit: after two minutes without an answer Ray ends the process.
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError, SystemExit) as error:
        ray.shutdown()
        reason = "no answer" if isinstance(error, SystemExit) else str(error).splitlines()[0]
        raise InputError(f"--compute.address {address} cannot be joined ({reason}); {_EXPECTED}") from error


def _check_reachable(address: str) -> None:
    """Raise InputError at once where ray.init would try for two minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 2**16):
        raise InputError(f"--compute.address is {address!r}; {_EXPECTED}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--compute.address {address} cannot be reached ({reason}); {_EXPECTED}") from error
