"""A search on a real cluster whose worker nodes are killed, and replaced, at random moments.

The head has no processors, so that no trial runs there and what the driver put into its store survives.
"""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bench import Bench, Row
from searches import MARK, N_STARTS, Search
from watch import Watch

N_NODES = 2
ROUND = ("extraction", "extraction", *["search"] * 6, "refit", "refit")


class Nodes:
    """The worker nodes of a cluster, each with one processor."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.mark = os.environ[MARK] = uuid.uuid4().hex
        self._cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self._nodes: list[Any] = []
        self.address: str = self._cluster.address
        self.fill()

    def fill(self) -> None:
        """Start nodes in the place of those that were killed."""
        while len(self._nodes) < N_NODES:
            for attempt in range(N_STARTS):
                try:
                    self._nodes.append(self._cluster.add_node(num_cpus=1))
                    break
                except Exception:  # Ray's own, as bare as that, where the machine is too busy
                    if attempt == N_STARTS - 1:
                        raise

    def kill_node(self, _search: Search) -> None:
        """All processes of the node that runs longest, at once, as when a machine loses its power."""
        self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)

    def kill_raylet(self, _search: Search) -> None:
        """Its raylet alone, with SIGKILL; what is left of the node is cleared away then."""
        node = self._nodes.pop(0)
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        time.sleep(1)
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@contextlib.contextmanager
def _nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.shutdown()
        del os.environ[MARK]


def kill_nodes(bench: Bench) -> list[Row]:
    """The search must go on by itself with the nodes that remain or come."""
    whole, raylet = Row("A whole worker node killed, cluster"), Row("SIGKILL of a worker node's raylet, cluster")
    with _nodes() as nodes:
        rng, place = bench.rng(), bench.place("search")
        place = replace(place, flags=[*place.flags, "--compute.address", nodes.address], mark=nodes.mark)
        blows = [(whole, nodes.kill_node), (whole, nodes.kill_node), (raylet, nodes.kill_raylet)]
        with Watch(place.root) as watch:
            search = place.start()
            for stage in ROUND:
                row, blow = rng.choice(blows)
                row.hit(search.strike(stage, bench.pause_s(), rng, blow))
                time.sleep(rng.choice([0.0, 0.0, 5.0]))  # now and then the search goes on with one node for a time
                nodes.fill()
            search.end()
        bench.check(whole, search, watch)
    return [whole, raylet]
