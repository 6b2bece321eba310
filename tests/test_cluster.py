import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig
from ser_tune.errors import InputError, Interrupted, RunError
from ser_tune.ray_loss import clock_set_back, unanswered


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody else takes and nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_an_address_without_an_answer_is_named_at_once() -> None:
    started = time.monotonic()
    with closed_port() as port, pytest.raises(InputError, match=rf"127.0.0.1:{port} cannot be reached \(Connection"):
        connect(ComputeConfig(address=f"127.0.0.1:{port}")).__enter__()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:ray", "head:99999", "ray://head:10001"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"expected HOST:PORT of the head node .* or auto"):
        connect(ComputeConfig(address=address)).__enter__()


@pytest.mark.ray
def test_a_refused_address_leaves_a_ray_that_runs_already_alone(local_ray: None) -> None:
    import ray

    with pytest.raises(InputError):
        connect(ComputeConfig(address="nonsense")).__enter__()
    assert ray.is_initialized()


def test_a_local_ray_that_does_not_start_in_time_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(**_options: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because of this. Or that.")

    monkeypatch.setattr("ray.init", time_out)
    with pytest.raises(
        RunError, match=r"Ray did not start \(The current node timed out during startup\): this machine may be"
    ):
        connect(ComputeConfig()).__enter__()


def test_a_signal_that_comes_while_ray_starts_is_answered_once_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    def init(**_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        happened.append("started")

    def answer(number: int, _frame: object) -> None:
        raise Interrupted(number)

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: happened.append("ended"))
    before = signal.signal(signal.SIGTERM, answer)
    try:
        with pytest.raises(Interrupted):
            connect(ComputeConfig()).__enter__()
        assert signal.getsignal(signal.SIGTERM) is answer
    finally:
        signal.signal(signal.SIGTERM, before)
    assert happened == ["started", "ended"]


LOCAL = """
import os, signal, sys, threading
import ray
from ray._private import worker
from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig

signal.signal(signal.SIGTERM, handler := lambda *_: None)
with connect(ComputeConfig()):
    assert signal.getsignal(signal.SIGTERM) is handler
    assert len(ray.nodes()) == 1
    # It would print paragraphs about dead workers on standard output.
    assert "ray_listen_error_messages" not in {one.name for one in threading.enumerate() if one.is_alive()}
    processes = worker._global_node.all_processes
    assert set(processes) == {"gcs_server", "raylet"}, "Ray starts helpers that nothing asks"
    groups = {os.getpgid(started.process.pid) for [started] in processes.values()}
    assert os.getpgrp() not in groups, "a signal to this process's group ends Ray"
    print(ray.get_runtime_context().gcs_address)
assert not ray.is_initialized()
"""


@pytest.mark.ray
def test_a_local_ray_is_ones_own_and_quiet_and_leaves_signals_alone() -> None:
    elsewhere = {**os.environ, "RAY_ADDRESS": "192.0.2.1:6379"}
    ran = subprocess.run([sys.executable, "-c", LOCAL], capture_output=True, text=True, env=elsewhere, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert not ran.stdout.startswith("192.0.2.1")


def test_a_clock_that_is_set_back_is_a_loss_and_one_set_forward_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, now, shift = clock_set_back(), time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: now() + shift)
    assert next(clock) is None
    shift = 100_000.0
    assert next(clock) is None
    shift = 99_990.0  # a few seconds are no matter
    assert next(clock) is None
    shift = 9_990.0
    assert next(clock) == "the clock was set back by 1 day, 1:00:00; Ray would wait as long"
    assert next(clock) is None


LOST = """
import os, signal, sys, time
from pathlib import Path
from ray._private import worker
from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig

with connect(ComputeConfig(), "Run it again."):
    pids = {kind: started[0].process.pid for kind, started in worker._global_node.all_processes.items()}
    for child in Path(f"/proc/{pids['raylet']}/task").glob("*/children"):
        for pid in map(int, child.read_text().split()):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"dashboard/agent" in line or b"DashboardAgent" in line:
                pids["DashboardAgent"] = pid
    os.kill(pids[sys.argv[1]], signal.SIGKILL)
    time.sleep(600)
"""


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["raylet", "gcs_server", "DashboardAgent"])
def test_a_local_ray_that_loses_a_process_it_needs_ends_the_command_with_one_line(kind: str) -> None:
    ran = subprocess.run([sys.executable, "-c", LOST, kind], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    # How an agent ended only its parent can tell; and the raylet ends the other one a blink later.
    ended = "(DashboardAgent|RuntimeEnvAgent) was ended" if kind == "DashboardAgent" else f"{kind} was ended by SIGKILL"
    assert re.fullmatch(f"error: Ray's {ended}. Run it again.\n", ran.stderr)
    assert ran.stdout == ""


def test_a_cluster_that_does_not_answer_for_too_long_is_lost() -> None:
    with closed_port() as port, socket.create_server(("127.0.0.1", 0)) as server:
        there, gone = f"127.0.0.1:{server.getsockname()[1]}", f"127.0.0.1:{port}"
        assert next(unanswered({there: 0.0, gone: 600.0})) is None
        lost = next(unanswered({there: 0.0, gone: 0.0}))
    assert lost == f"the Ray cluster was lost: {gone} does not answer (Connection refused)"


LISTENERS = """
import contextlib, os
from pathlib import Path
import ray
from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig

def listening():
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            values = line.split()
            if values[3] == "0A":  # LISTEN
                sockets["socket:[" + values[9] + "]"] = values[1].partition(":")[0]
    processes = [path for path in Path("/proc").glob("[0-9]*") if path.stat().st_uid == os.getuid()]
    parents = {path.name: (path / "stat").read_text().rpartition(")")[2].split()[1] for path in processes}
    below, before = {str(os.getpid())}, 0
    while len(below) > before:
        before = len(below)
        below |= {name for name, parent in parents.items() if parent in below}
    for name in below:
        for descriptor in Path("/proc", name, "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if (address := sockets.get(os.readlink(descriptor))):
                    yield address

with connect(ComputeConfig()):
    ray.get(ray.remote(lambda: 1).remote())
    print(*sorted(set(listening())))
"""


@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's table of sockets in /proc")
def test_a_local_ray_listens_on_loopback_alone() -> None:
    ran = subprocess.run([sys.executable, "-c", LISTENERS], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and as IPv6 writes it
    assert set(ran.stdout.split()) <= loopback
    assert ran.stdout.split()
