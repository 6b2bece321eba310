"""A Ray of one's own on this machine, or a running cluster that one names; nothing else is ever joined.

InputError where the cluster cannot be reached. What ray.init does to signal handlers is undone. A Ray that is lost
while it is in use ends this process, with a line that says so.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray._private import ray_constants, services, utils, worker
from ray._private.node import Node
from ray._private.state import GlobalState

from ser_tune.config import ComputeConfig
from ser_tune.errors import InputError, RunError
from ser_tune.ray_loss import clock_set_back, end_when_lost, joined_losses, knock, own_losses

_BUSY_S = 600  # Ray's own 60 s end a search on a machine that is busy elsewhere
_EXPECTED = "expected HOST:PORT of the head node of a running cluster (ray start --head), or auto on one of its nodes"


@contextmanager
def connect(compute: ComputeConfig, hint: str = "") -> Iterator[None]:
    """Start a local Ray, or join the one at `compute.address`; leave it, or stop one's own, at the end.

    `hint` tells what to do where a Ray of one's own is lost.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ended, clock = threading.Event(), clock_set_back()
    next(clock)  # what it says while Ray starts counts too
    try:
        with _signals_later(handlers) as came:
            _start(compute.address)
        try:
            for number in came:
                signal.raise_signal(number)
            losses = own_losses() if compute.address is None else joined_losses()
            end_when_lost((lost or back for lost, back in zip(losses, clock, strict=False)), ended, hint)
            yield
        finally:
            ended.set()
            ray.shutdown()
    finally:
        _put_back(handlers)


@contextmanager
def _signals_later(handlers: dict[signal.Signals, Any]) -> Iterator[list[int]]:
    """Yield the signals that come meanwhile, to be answered after; Ray sets no handler of its own.

    What a handler raises inside Ray's compiled code, as it starts, can make that wait for itself, for ever.
    """
    came: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _frame: came.append(number))
    set_handler, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda _handler: None
    try:
        yield came
    finally:
        utils.set_sigterm_handler = set_handler
        _put_back(handlers)


def _start(address: str | None) -> None:
    worker.listen_error_messages = _hear_nothing
    if address is not None:
        _join(address)
        return
    _stay_on_loopback()
    _start_no_helpers()
    _start_apart()
    # Each trial runs in a thread of its own, and threads that allocate apart keep what they free: 0.5 GB a worker.
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    try:
        # "local" also where RAY_ADDRESS is set. Ray turns token authentication on and usage reports off by itself.
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            # A busy machine may keep Ray's processes waiting; that they are lost ray_loss notices by itself.
            _system_config={"gcs_rpc_server_reconnect_timeout_s": _BUSY_S},
        )
    except Exception as error:
        if type(error) is not Exception:  # so bare it is where Ray's processes do not answer in time
            raise
        reason = str(error).partition(". ")[0]
        raise RunError(
            f"Ray did not start ({reason}): this machine may be overloaded; run the same command again to go on."
        ) from error


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


def _start_no_helpers() -> None:
    """Leave out what Ray starts, and partly waits for, to watch logs, a dashboard and clusters that grow.

    Nothing here asks them: they cost a search a second, 0.2 GB, and another second at its end.
    """
    for start in ("start_api_server", "start_log_monitor", "start_monitor"):
        setattr(Node, start, lambda *_, **__: None)
    # The node's agent, without which no raylet runs, starts sooner without what a dashboard would ask it.
    utils.get_dashboard_dependency_error = lambda: ImportError("left out")
    services.get_node = _get_node


def _start_apart() -> None:
    """Let signals to the group of this process, as terminals and schedulers send them, reach it alone.

    Ray's processes, which end with it, would end before it could say a word.
    """
    services.ConsolePopen = partial(services.ConsolePopen, process_group=0)


def _get_node(gcs_address: str, node_id: str) -> Any:
    """Ask for the node that starts until it is there, mostly after half a second; Ray asks once a second."""
    state = GlobalState()
    state._initialize_global_state(services._get_gcs_client_options(gcs_address))
    give_up = time.monotonic() + 1
    while time.monotonic() < give_up and all(node["NodeID"] != node_id for node in state.node_table()):
        time.sleep(0.01)
    return state.get_node(node_id)


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
        knock(address)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--compute.address {address} cannot be reached ({reason}); {_EXPECTED}") from error
