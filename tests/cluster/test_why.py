"""Runs that cannot start: what `why` says of each, and what is refused before it is made."""

import json

import pytest

from tests.cluster.lab import KINDS, MARKS, TURN, Lab
from tests.cluster.runfiles import Written
from trmctl.cluster import CONFIG_MAP

pytestmark = MARKS


def explained(lab: Lab, run: Written, *words: str) -> None:
    """Wait until `why` says one of these words, as its first finding, with what helps."""

    def told() -> bool:
        found = lab.trmctl("why", run.job, "-o", "json").data["findings"]
        text = json.dumps(found[:1]).lower()
        return bool(found) and any(word in text for word in words) and bool(found[0]["next"])

    lab.until(told, TURN, f"why {run.job} says {' or '.join(words)}")


WAITS = {
    "image": (("cluster.image=registry.invalid/no-such/image:1",), ("cannot be reached", "cannot be pulled")),
    "name": (("cluster.image=Not/AnImage",), ("no name of an image",)),
    "cpu": (("cluster.cpu=1000",), ("no machine has that much free",)),
    "gpu": (
        ("cluster.gpus_per_node=1", "cluster.gpu_resource=trm.test/gpu"),
        ("no machine has enough",),
    ),
    "selector": (("cluster.node_selector={trm.test/none: here}",), ("no machine has the labels",)),
}


@pytest.mark.parametrize("what", WAITS)
def test_why_says_what_a_run_waits_for(lab: Lab, backend: str, what: str) -> None:
    overrides, words = WAITS[what]
    run = lab.file(f"waits-{what}-{backend}", f"cluster.backend={backend}", *overrides, stored=False)
    lab.submit(run)
    try:
        explained(lab, run, *words)
        assert lab.trmctl("status", run.job, "-o", "json").data["phase"] in ("Pending", "Starting")
    finally:
        lab.trmctl("delete", run.job, "--wait", seconds=TURN)


def test_a_secret_that_is_not_there_is_refused_before_and_explained_after(lab: Lab, backend: str) -> None:
    overrides = (f"cluster.backend={backend}", "storage.remote=s3://bucket/prefix", "cluster.storage_secret=not-there")
    run = lab.file(f"secret-{backend}", *overrides, stored=False)
    refused = lab.trmctl("submit", "-c", str(run.path), "--yes", code=2)
    assert "there is no Secret 'not-there'" in refused.err
    assert lab.job(run) is None

    words = ("render", "-c", str(run.path), "--backend", backend, "-n", lab.namespace, "-o", "json")
    config, job = json.loads(lab.trmctl(*words).out)["items"]
    lab.cluster.create(CONFIG_MAP, config)  # as `trmctl render | kubectl apply` does, past all checks
    lab.cluster.create(KINDS[backend], job)
    try:
        explained(lab, run, "a secret, or a key of it, is missing")
    finally:
        lab.trmctl("delete", run.job, "--wait", seconds=TURN)


def test_a_run_file_that_is_gone_is_explained(lab: Lab, backend: str) -> None:
    run = lab.file(f"no-config-{backend}", f"cluster.backend={backend}", stored=False)
    words = ("render", "-c", str(run.path), "--backend", backend, "-n", lab.namespace, "-o", "json")
    lab.cluster.create(KINDS[backend], json.loads(lab.trmctl(*words).out)["items"][1])
    try:
        explained(lab, run, "a configmap is missing")
    finally:
        lab.trmctl("delete", run.job, "--wait", seconds=TURN)


def test_a_service_account_that_is_not_there_is_refused_before_and_explained_after(lab: Lab, backend: str) -> None:
    overrides = (f"cluster.backend={backend}", "cluster.service_account=not-there")
    run = lab.file(f"account-{backend}", *overrides, stored=False)
    lab.trmctl("submit", "-c", str(run.path), "--yes", code=2)
    words = ("render", "-c", str(run.path), "--backend", backend, "-n", lab.namespace, "-o", "json")
    config, job = json.loads(lab.trmctl(*words).out)["items"]
    lab.cluster.create(CONFIG_MAP, config)
    lab.cluster.create(KINDS[backend], job)
    try:
        explained(lab, run, "service account")
    finally:
        lab.trmctl("delete", run.job, "--wait", seconds=TURN)
