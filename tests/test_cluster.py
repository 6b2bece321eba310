import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig
from ser_tune.errors import InputError


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


LOCAL = """
import os, signal, sys
import ray
from ser_tune.cluster import connect
from ser_tune.config import ComputeConfig

signal.signal(signal.SIGTERM, handler := lambda *_: None)
with connect(ComputeConfig()):
    assert signal.getsignal(signal.SIGTERM) is handler
    assert len(ray.nodes()) == 1
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
