"""Ends the command, with one line and exit status 1, as soon as the Ray that it uses is lost.

Ray itself ends the process later, from compiled code, without a word or with many: 10 to 60 s after a kill, but at once
where an agent of the raylet died, with which the raylet ends by itself 0.02 s later.
"""

import contextlib
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import ray
from ray._private import ray_constants, worker

from ser_tune.signals import received

NEEDED = (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER)
_AGENTS = {  # by what they call themselves, or what they are started as
    "DashboardAgent": re.compile(rb"DashboardAgent|dashboard/agent"),
    "RuntimeEnvAgent": re.compile(rb"RuntimeEnvAgent|runtime_env/agent"),
}
_LOOK_S = 0.05
_LOOK_AGAIN_S = 0.002
_SETTLE_S = 0.1
_SETTLE_AGENT_S = 0.01
_KNOCK_S = 0.2
_HEAD_AWAY_S = 50.0  # a head may come back; after 60 s Ray ends this process
_NODE_AWAY_S = 0.0  # its raylet does not come back; Ray ends this process within a second or so
_REACH_TIMEOUT_S = 10
_CLOCK_BACK_S = 60.0  # a minute lost is no reason to end
_SHOW_CURSOR = "\x1b[?25h"  # a board hides it

Losses = Iterator[str | None]  # at each look, which takes a moment, what was lost


def end_when_lost(losses: Losses, ended: threading.Event, hint: str) -> None:
    """Look in the background until `ended` is set; `hint` tells what to do where something is lost."""
    next(losses)  # what it needs to know of Ray it learns while Ray is there

    def look() -> None:
        while not ended.is_set():
            if (lost := next(losses)) and not ended.is_set() and not received:  # a signal is answered by the command
                begin = f"{_SHOW_CURSOR}error" if sys.stderr.isatty() else "error"
                print(f"{begin}: {lost}. {hint}".strip(), file=sys.stderr, flush=True)
                _kill_workers()
                os._exit(1)  # the other processes of a Ray of one's own end with this one

    threading.Thread(target=look, daemon=True).start()


def _kill_workers() -> None:
    """Those of a Ray of one's own: where the clock was set back they would not notice that they are alone."""
    for raylet in worker._global_node.all_processes.get(ray_constants.PROCESS_TYPE_RAYLET, []):
        for pid in (raylet.process.pid, *_children_of(raylet.process.pid)):  # it would start others
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def own_losses() -> Losses:
    """The processes that a Ray of one's own cannot do without."""
    processes = worker._global_node.all_processes
    needed = {kind: processes[kind][0].process for kind in NEEDED}
    agents = _agents_of(needed[ray_constants.PROCESS_TYPE_RAYLET].pid)
    died: dict[str, float] = {}
    while True:
        for descriptor in select.select(agents, [], [], _LOOK_AGAIN_S if died else _LOOK_S)[0]:
            died[agents.pop(descriptor)] = time.monotonic()
            os.close(descriptor)
        for kind, process in needed.items():
            if process.poll() is not None:
                died.setdefault(kind, time.monotonic())
        statuses = {kind: needed[kind].returncode if kind in needed else None for kind in died}
        over = [kind for kind, at in died.items() if time.monotonic() - at >= _patience_s(statuses[kind])]
        yield f"Ray's {over[0]} was ended{_how(statuses[over[0]])}" if over else None


def _agents_of(raylet: int) -> dict[int, str]:
    """The agents that a raylet started: a file descriptor of each, readable once it ended, and its name."""
    agents = {}
    for child in _children_of(raylet):
        with contextlib.suppress(OSError):  # it has ended
            line = Path(f"/proc/{child}/cmdline").read_bytes()
            for name in [name for name, pattern in _AGENTS.items() if pattern.search(line)]:
                agents[os.pidfd_open(child)] = name
    return agents


def _children_of(parent: int) -> list[int]:
    """The processes that a process started, as far as Linux tells; none of one that has ended."""
    found: list[int] = []
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, children.read_text().split())
    return found


def joined_losses() -> Losses:
    """Of a cluster that was joined its head, and the node through which this process joined it."""
    context = ray.get_runtime_context()
    own = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    node = f"{own['NodeManagerAddress']}:{own['NodeManagerPort']}"
    return unanswered({context.gcs_address: _HEAD_AWAY_S, node: _NODE_AWAY_S})


def unanswered(needed: Mapping[str, float]) -> Losses:
    """The addresses HOST:PORT where nobody has answered for so many seconds."""
    answered = dict.fromkeys(needed, time.monotonic())
    while True:
        lost = None
        time.sleep(_KNOCK_S)
        for address, most_s in needed.items():
            try:
                knock(address)
                answered[address] = time.monotonic()
            except OSError as error:
                if time.monotonic() - answered[address] >= most_s:
                    lost = f"the Ray cluster was lost: {address} does not answer ({error.strerror or error})"
        yield lost


def clock_set_back() -> Losses:
    """The clock, by how much it went back: Ray's timers go by it and wait until it has caught up."""
    before = time.time() - time.monotonic()
    while True:
        now = time.time() - time.monotonic()
        back_s, before = before - now, now
        far = back_s > _CLOCK_BACK_S
        yield f"the clock was set back by {timedelta(seconds=round(back_s))}; Ray would wait as long" if far else None


def knock(address: str) -> None:
    """Connect to HOST:PORT and leave at once; OSError where nobody answers."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_TIMEOUT_S).close()


def _patience_s(status: int | None) -> float:
    """How long to wait whether a signal came: Ctrl-C and SIGTERM may have gone to Ray's processes too."""
    if status is None:
        return _SETTLE_AGENT_S
    return _SETTLE_S if status >= 0 or -status in (signal.SIGINT, signal.SIGTERM) else 0


def _how(status: int | None) -> str:
    if status is None:
        return ""
    return f" by {signal.Signals(-status).name}" if status < 0 else f" with exit status {status}"
