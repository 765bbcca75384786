"""How long `trmctl list` takes with many runs, and how many requests it sends: `python benchmarks/cluster_list.py`.

A process on this machine answers with lists of jobs of real size (3.7 KB each), made beforehand; a folder is the store.
The time for one plain request for the same list, read and parsed, is measured beside it. Python's start is not in it.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kubernetes import client

from tests.trmctl.cluster_objects import add_job, running
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cli import cli
from trmctl.kube import KubeCluster
from trmctl.options import Doors
from trmkit.store.catalog import Listed, announce
from trmkit.store.folder import FolderStore

PATH = "/apis/kubeflow.org/v1/namespaces/team/pytorchjobs"


def serve(jobs: bytes, told: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = jobs if self.path.startswith(PATH) else b'{"metadata": {}, "items": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.send(server.server_address[1])
    server.serve_forever()


def many_jobs(count: int) -> bytes:
    cluster = FakeCluster()
    items = []
    for number in range(count):
        name, run_id = f"run-{number}", f"{number:08x}"
        job = add_job(cluster, f"{name}-{run_id}", *running(), name=name, run_id=run_id, gpus=8)
        job["metadata"]["managedFields"] = [{"manager": "trmctl", "fieldsV1": {f"f:field-{n}": {} for n in range(110)}}]
        items.append(job)
    return json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()


def connect(port: int) -> KubeCluster:
    settings = client.Configuration()
    settings.host, settings.retries = f"http://127.0.0.1:{port}", False
    return KubeCluster(client.ApiClient(settings), "team", "benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--times", type=int, default=40)
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    jobs = many_jobs(options.runs)
    child = multiprocessing.get_context("fork").Process(target=serve, args=(jobs, there), daemon=True)
    child.start()
    port = here.recv()
    lists, busy, plain, requests = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRM_CONFIG"] = f"{folder}/none.toml"
        for number in range(options.runs):
            run = Listed(f"run-{number}", f"{number:08x}", "training", 500, 1000, "exact_accuracy", 0.5, 0.0)
            announce(FolderStore(Path(folder)), run)
        for _ in range(options.times):
            cluster = connect(port)
            began, worked = time.perf_counter(), time.process_time()
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                doors = Doors(lambda context, namespace, c=cluster: c)
                cli.main(["list", "--store", folder], prog_name="trmctl", standalone_mode=False, obj=doors)
            lists.append(time.perf_counter() - began)
            busy.append(time.process_time() - worked)
            requests = cluster.api.requests
            assert printed.getvalue().count("\n") == options.runs + 1
            began = time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{PATH}") as answer:
                json.load(answer)
            plain.append(time.perf_counter() - began)
    child.terminate()
    p95 = sorted(lists)[max(0, round(0.95 * len(lists)) - 1)]
    print(f"{options.runs} runs, {len(jobs) / 1e6:.1f} MB, {options.times} times")
    print(f"requests: {requests} to the API server, 1 to the store")
    print(f"list: median {statistics.median(lists):.2f} s, p95 {p95:.2f} s, processor {statistics.median(busy):.2f} s")
    print(f"one plain request for the same list: median {statistics.median(plain):.2f} s")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, making of the jobs included")


if __name__ == "__main__":
    main()
