"""What the controller costs with many runs: requests, time and memory of a look at all of them.

    python benchmarks/controller.py [--runs 500]

The API server is one of the tests, over HTTP on this machine. Beside it stands what one writes down first: a look at
each run by itself. Requests are counted; time is that of the whole process, the server's included.
"""

import argparse
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import record, table
from kubernetes import client

from tests.trmctl.api_server import ApiServer
from tests.trmctl.controller.world import World
from tests.trmctl.fake_cluster import stamp
from trmctl.cluster import POD, PYTORCHJOB, TRMRUN
from trmctl.controller.loop import Controller
from trmctl.controller.metrics import Metrics
from trmctl.kube import KubeCluster


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    count = parser.parse_args().runs
    world = World()
    for number in range(count):
        world.apply(f"run-{number}", run={"seed": number})
    with ApiServer(world.cluster) as server:
        settings = client.Configuration(host=server.url)
        settings.retries = False
        cluster = KubeCluster(client.ApiClient(settings), "team", server.url)
        controller = Controller(cluster, "team", world, Metrics(), lambda: world.cluster.now, lambda *_, **__: None)  # type: ignore[arg-type]
        rows = [measured(server, "all are made", controller.resync)]
        train(world)
        controller.resync()
        rows.append(measured(server, "all train, one more look", controller.resync))
        names = world.cluster.names(TRMRUN)
        rows.append(
            measured(server, "the same, one by one", lambda: [controller.look_at("team", one) for one in names])
        )
        tracemalloc.start()
        controller.resync()
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    shown = [(what, f"{asked:,}", f"{seconds:.2f} s") for what, asked, seconds in rows]
    table((f"a look at {count:,} runs", "requests", "time"), shown)
    print(f"most memory that such a look takes: {peak:.0f} MB")
    record("controller", f"requests of a look at {count} runs, to one by one", [rows[1][1]], [rows[2][1]], unit="")


def train(world: World) -> None:
    """Have every job run, with its pods."""
    for name in world.cluster.names(PYTORCHJOB):
        job = world.cluster.see(PYTORCHJOB, name)
        world.cluster.edit(PYTORCHJOB, name, status={"conditions": [{"type": "Running", "status": "True"}]})
        for rank in range(2):
            world._make(job, rank)
            pod = world.cluster.see(POD, f"{name}-worker-{rank}")
            state = {"running": {"startedAt": stamp(world.cluster.now)}}
            status = {"phase": "Running", "containerStatuses": [{"name": "pytorch", "state": state}]}
            world.cluster.put(POD, {**pod, "status": status})


def measured(server: ApiServer, what: str, do: object) -> tuple[str, int, float]:
    """Return requests and CPU seconds of something."""
    before, began = len(server.requests), time.process_time()
    do()  # type: ignore[operator]
    return what, len(server.requests) - before, time.process_time() - began


if __name__ == "__main__":
    main()
