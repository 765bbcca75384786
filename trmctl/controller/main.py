"""Puts the controller together."""

import os
import socket
import sys
import time
import uuid
from typing import Any

from trmctl.cluster import Cluster
from trmctl.controller.lease import Lease
from trmctl.controller.loop import Controller, Log, log_json
from trmctl.controller.metrics import Metrics
from trmctl.controller.runner import Runner
from trmctl.controller.serve import serve
from trmctl.controller.shell import operate
from trmctl.controller.stores import Stores


def run(cluster: Cluster, quick: Cluster, everywhere: bool, every: float, port: int, log_format: str) -> int:
    """Keep runs until a signal comes; the Lease is asked for through `quick`, whose questions do not take long."""
    log: Log = log_json if log_format == "json" else log_text
    metrics = Metrics()
    namespace = "*" if everywhere else cluster.namespace
    controller = Controller(cluster, namespace, Stores(time.time), metrics, log=log)
    holder = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    runner = Runner(controller, Lease(quick, cluster.namespace, holder), every, log)
    server = serve(port, metrics, runner)
    log(
        "begins",
        namespace=namespace,
        cluster=cluster.where,
        port=server.server_address[1],
        holder=holder,
        pid=os.getpid(),
    )
    try:
        operate(runner, namespace)
    finally:
        server.shutdown()
        log("ends")
    return 0


def log_text(event: str, **fields: Any) -> None:
    """Write a line of log for people."""
    more = " ".join(f"{name}={value}" for name, value in fields.items())
    print(f"{time.strftime('%H:%M:%S')} {event} {more}".rstrip(), file=sys.stderr, flush=True)
