"""What an operator takes although it cannot work is found before anything is sent."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.trmkit.render.runs import everything
from trmkit.render.check import problems
from trmkit.render.objects import render

Change = Callable[[dict[str, Any]], object]


def worker(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    return found


def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = worker(job)["template"]["spec"]
    return found


def one(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod(job)["containers"][0]
    return found


WRONG: dict[str, tuple[Change, str]] = {
    "policy": (lambda job: job["spec"]["runPolicy"].update(cleanPodPolicy="Runing"), "acts like All"),
    "restart": (lambda job: worker(job).update(restartPolicy="Exit"), "restartPolicy"),
    "name": (lambda job: job["metadata"].update(name="7m-trm"), "DNS-1035"),
    "long name": (lambda job: job["metadata"].update(name="a" * 55), "Services"),
    "processes": (lambda job: job["spec"].update(nprocPerNode="many"), "nprocPerNode"),
    "standalone": (lambda job: job["spec"].update(elasticPolicy={"standalone": True}), "standalone"),
    "elastic range": (lambda job: job["spec"].update(elasticPolicy={"maxReplicas": 1}), "not between"),
    "both counts": (lambda job: job["spec"].update(elasticPolicy={"nProcPerNode": 1}), "nProcPerNode"),
    "negative": (lambda job: job["spec"]["runPolicy"].update(ttlSecondsAfterFinished=-1), "below 0"),
    "no replica": (lambda job: worker(job).update(replicas=0), "at least 1"),
    "role": (lambda job: job["spec"]["pytorchReplicaSpecs"].update(Workers=worker(job)), "neither Master nor"),
    "two masters": (lambda job: job["spec"]["pytorchReplicaSpecs"].update(Master=worker(job)), "must be 1"),
    "container": (lambda job: one(job).update(name="main"), "none is called pytorch"),
    "image": (lambda job: one(job).update(image="My Image:1"), "not the name of an image"),
    "no image": (lambda job: one(job).pop("image"), "there is none"),
    "quantity": (lambda job: one(job)["resources"]["limits"].update(memory="10 GB"), "not a quantity"),
    "requests": (lambda job: one(job)["resources"]["requests"].update(cpu="65"), "more than its limit"),
    "gpu": (lambda job: one(job)["resources"]["limits"].pop("nvidia.com/gpu"), "must equal the request"),
    "port": (lambda job: one(job)["ports"][0].update(name="prometheus-metrics"), "not a port name"),
    "two ports": (lambda job: one(job)["ports"].append({"name": "metrics", "containerPort": 1}), "there 2 times"),
    "env": (lambda job: one(job)["env"].append({"name": "HOME", "value": "/"}), "'HOME' is there 2 times"),
    "mount": (lambda job: one(job)["volumeMounts"].append({"name": "x", "mountPath": "/x"}), "is no volume"),
    "spread": (
        lambda job: pod(job)["topologySpreadConstraints"][0].update(matchLabelKeys=["trm.dev/run"]),
        "in matchLabelKeys and in labelSelector",
    ),
    "label": (lambda job: worker(job)["template"]["metadata"]["labels"].update(a="-b"), "not a label value"),
    "root": (lambda job: pod(job)["securityContext"].update(runAsNonRoot=False), "runAsNonRoot"),
    "user": (lambda job: one(job)["securityContext"].update(runAsUser=0), "runAsUser is 0"),
    "profile": (lambda job: pod(job)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    "escalation": (lambda job: one(job)["securityContext"].pop("allowPrivilegeEscalation"), "allowPrivilege"),
    "capability": (lambda job: one(job)["securityContext"]["capabilities"].update(add=["IPC_LOCK"]), "IPC_LOCK"),
    "drop": (lambda job: one(job)["securityContext"].update(capabilities={}), "lacks ALL"),
    "privileged": (lambda job: one(job)["securityContext"].update(privileged=True), "privileged"),
    "host network": (lambda job: pod(job).update(hostNetwork=True), "hostNetwork"),
    "host path": (lambda job: pod(job)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}), "hostPath"),
}


def fresh(backend: Any) -> dict[str, Any]:
    """Return a job of which nothing is shared with another one."""
    import copy

    return copy.deepcopy(render(everything(), backend)[1])


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_pytorchjob_is_said(change: Change, words: str) -> None:
    job = fresh("pytorchjob")
    assert problems(job) == []
    change(job)
    assert any(words in line for line in problems(job)), problems(job)


def test_runtimes_and_templates_are_held_to_the_same_rules() -> None:
    from trmkit.render.runtime import runtime
    from workflows.pipeline import pipeline_template

    for found in (runtime(), pipeline_template()):
        assert problems(found) == []
    broken = runtime()
    job = broken["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    job["hostNetwork"] = True
    assert "hostNetwork is true" in problems(broken)[0]
    steps = pipeline_template()
    del steps["spec"]["securityContext"]
    assert any("runAsNonRoot" in line for line in problems(steps))


WRONG_TRAINJOB: dict[str, tuple[Change, str]] = {
    "long name": (lambda job: job["metadata"].update(name="a" * 58), "its pods would have names"),
    "no node": (lambda job: job["spec"]["trainer"].update(numNodes=0), "at least 1"),
    "reserved": (lambda job: job["spec"]["trainer"]["env"].append({"name": "PET_NNODES"}), "set by the Trainer"),
    "manager": (lambda job: job["spec"]["runtimePatches"][0].update(manager="trmctl"), "a domain and a path"),
    "image": (lambda job: job["spec"]["trainer"].update(image="UPPER"), "not the name of an image"),
}


@pytest.mark.parametrize(("change", "words"), WRONG_TRAINJOB.values(), ids=WRONG_TRAINJOB)
def test_what_is_wrong_with_a_trainjob_is_said(change: Change, words: str) -> None:
    job = fresh("trainjob")
    assert problems(job) == []
    change(job)
    assert any(words in line for line in problems(job)), problems(job)
