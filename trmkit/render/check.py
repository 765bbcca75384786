"""What an API server, its webhooks and a kubelet would find wrong with a job, found before anybody is asked.

The CRDs of the training operators have no enums: `cleanPodPolicy: Runing` is taken, and acts as another policy. The
rules here are those of the operators' webhooks, and of what is accepted and then does not run.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from trmkit.render.podsecurity import containers, violations
from trmkit.render.quantity import amount

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
PORT_NAME = re.compile(r"(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
IMAGE = re.compile(
    r"[a-z0-9][-a-z0-9._]*(:[0-9]+/[a-z0-9][-a-z0-9._]*)?(/[a-z0-9][-a-z0-9._]*)*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?"
)
CLEAN_POD_POLICIES = ("All", "Running", "None")
RESTART_POLICIES = ("Always", "OnFailure", "Never", "ExitCode")
RESERVED_BY_TRAINER = ("PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")
LONGEST_SERVICE = 63


def problems(found: dict[str, Any]) -> list[str]:
    """Return what is wrong with one object; kinds that are not ours are only checked for their names."""
    checks = {
        "PyTorchJob": of_a_pytorchjob, "TrainJob": of_a_trainjob, "ClusterTrainingRuntime": of_a_runtime,
        "WorkflowTemplate": of_a_workflow_template, "Pod": of_a_pod_object,
    }  # fmt: skip
    check = checks.get(str(found.get("kind")))
    return [*of_names(found), *(check(found) if check else ())]


def of_names(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an object's name and labels."""
    about = found.get("metadata") or {}
    if not about.get("name") and not about.get("generateName"):
        yield "metadata.name: there is none"
    yield from bad_labels(about.get("labels") or {}, "metadata.labels")


def bad_labels(labels: dict[str, Any], where: str) -> Iterator[str]:
    """Yield the labels whose value no API server takes; in a pod's template it would take them and make no pod."""
    for key, value in labels.items():
        if not isinstance(value, str) or len(value) > 63 or not LABEL_VALUE.fullmatch(value):
            yield f"{where}.{key}: {value!r} is not a label value"


def of_a_pytorchjob(job: dict[str, Any]) -> Iterator[str]:
    """Yield what the Training Operator's webhook refuses, and what it takes although it cannot work."""
    name, spec = str(job["metadata"].get("name", "")), job.get("spec") or {}
    replicas = spec.get("pytorchReplicaSpecs") or {}
    if not DNS_1035.fullmatch(name):
        yield f"metadata.name: {name!r} is not a DNS-1035 label: lower-case letters, digits and -, a letter first"
    policy = (spec.get("runPolicy") or {}).get("cleanPodPolicy")
    if policy is not None and policy not in CLEAN_POD_POLICIES:
        yield f"spec.runPolicy.cleanPodPolicy: {policy!r} is none of {', '.join(CLEAN_POD_POLICIES)}; it acts like All"
    for field in ("backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds"):
        if (spec.get("runPolicy") or {}).get(field, 0) < 0:
            yield f"spec.runPolicy.{field}: is below 0"
    processes = str(spec.get("nprocPerNode", "1"))
    if not (processes.isdigit() and int(processes)) and processes not in ("auto", "cpu", "gpu"):
        yield f"spec.nprocPerNode: {processes!r} is neither a number above 0 nor auto, cpu or gpu"
    yield from elastic(spec, replicas)
    if not replicas:
        yield "spec.pytorchReplicaSpecs: there are none"
    for role, replica in replicas.items():
        yield from of_a_role(name, role, replica)


def elastic(spec: dict[str, Any], replicas: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an elastic policy."""
    policy = spec.get("elasticPolicy")
    if policy is None:
        return
    if "Worker" not in replicas:
        yield "spec.elasticPolicy: needs a Worker"
    if policy.get("nProcPerNode") is not None and spec.get("nprocPerNode") is not None:
        yield "spec.elasticPolicy.nProcPerNode: must not be beside spec.nprocPerNode"
    if policy.get("standalone"):
        yield "spec.elasticPolicy.standalone: torchrun cannot start with what the operator makes of it"
    low, high = policy.get("minReplicas") or 1, policy.get("maxReplicas")
    count = (replicas.get("Worker") or {}).get("replicas", 1)
    if high is not None and not low <= count <= high:
        yield f"spec.elasticPolicy: {count} replicas are not between minReplicas {low} and maxReplicas {high}"


def of_a_role(name: str, role: str, replica: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the Master or the Workers of a PyTorchJob."""
    where, count = f"spec.pytorchReplicaSpecs[{role}]", replica.get("replicas", 1)
    if role not in ("Master", "Worker"):
        yield f"{where}: {role!r} is neither Master nor Worker"
    if count < 1 or (role == "Master" and count != 1):
        yield f"{where}.replicas: {count} must be {'1' if role == 'Master' else 'at least 1'}"
    longest = len(f"{name}-{role.lower()}-{max(0, count - 1)}")
    if longest > LONGEST_SERVICE:
        yield f"metadata.name: its Services would have names of {longest} characters; {LONGEST_SERVICE} are allowed"
    policy = replica.get("restartPolicy")
    if policy is not None and policy not in RESTART_POLICIES:
        yield f"{where}.restartPolicy: {policy!r} is none of {', '.join(RESTART_POLICIES)}"
    template = replica.get("template") or {}
    names = [container.get("name") for container in (template.get("spec") or {}).get("containers") or ()]
    if "pytorch" not in names:
        yield f"{where}.template.spec.containers: none is called pytorch"
    yield from of_a_template(template, f"{where}.template")


def of_a_trainjob(job: dict[str, Any]) -> Iterator[str]:
    """Yield what Trainer's webhook refuses, and what it takes although it cannot work."""
    name, spec = str(job["metadata"].get("name", "")), job.get("spec") or {}
    trainer = spec.get("trainer") or {}
    nodes = trainer.get("numNodes", 1)
    if not DNS_1035.fullmatch(name):
        yield f"metadata.name: {name!r} is not a DNS-1035 label: lower-case letters, digits and -, a letter first"
    longest = len(f"{name}-node-0-{max(0, nodes - 1)}-xxxxx")
    if longest > LONGEST_SERVICE:
        yield f"metadata.name: its pods would have names of {longest} characters; {LONGEST_SERVICE} are allowed"
    if nodes < 1:
        yield f"spec.trainer.numNodes: {nodes} must be at least 1"
    reserved = [entry["name"] for entry in trainer.get("env") or () if entry.get("name") in RESERVED_BY_TRAINER]
    if reserved:
        yield f"spec.trainer.env: {', '.join(reserved)} are set by the Trainer"
    if trainer.get("image") is not None:
        yield from bad_image(trainer["image"], "spec.trainer.image")
    yield from bad_resources(trainer.get("resourcesPerNode") or {}, "spec.trainer.resourcesPerNode")
    yield from twice([entry.get("name") for entry in trainer.get("env") or ()], "spec.trainer.env")
    for entry in spec.get("runtimePatches") or ():
        yield from of_a_patch(entry)


def of_a_patch(entry: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one patch of a TrainJob's runtime."""
    manager = str(entry.get("manager", ""))
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\.[a-z0-9]+/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", manager):
        yield f"spec.runtimePatches: manager {manager!r} is not a domain and a path, as in trm.dev/trmctl"
    template = ((entry.get("trainingRuntimeSpec") or {}).get("template") or {}).get("spec") or {}
    for job in template.get("replicatedJobs") or ():
        pod = ((((job.get("template") or {}).get("spec") or {}).get("template")) or {}).get("spec") or {}
        if any(container.get("name") == "node" and container.get("env") for container in containers(pod)):
            yield "spec.runtimePatches: env of container node belongs into spec.trainer.env"
        yield from bad_mounts(pod, "spec.runtimePatches")


def of_a_runtime(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the pods of a runtime, which a TrainJob may hardly change."""
    template = ((found.get("spec") or {}).get("template") or {}).get("spec") or {}
    for job in template.get("replicatedJobs") or ():
        pod = ((job.get("template") or {}).get("spec") or {}).get("template") or {}
        yield from of_a_template(pod, f"spec.template.spec.replicatedJobs[{job.get('name')}]")


def of_a_workflow_template(found: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the pods of a pipeline's steps; their images come as parameters."""
    whole = found.get("spec") or {}
    for step in whole.get("templates") or ():
        if "container" in step:
            container = {"name": step.get("name"), **step["container"]}
            pod = {"securityContext": whole.get("securityContext"), "containers": [container]}
            volumes = [*(whole.get("volumes") or ()), *(step.get("volumes") or ())]
            yield from (f"{step.get('name')}: PodSecurity restricted: {line}" for line in violations(pod))
            yield from bad_mounts({**pod, "volumes": volumes}, f"spec.templates[{step.get('name')}]")


def of_a_pod_object(pod: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a pod."""
    yield from of_a_template(pod, "pod")


def of_a_template(template: dict[str, Any], where: str) -> Iterator[str]:
    """Yield what is wrong with a pod, or with the template of one."""
    pod = template.get("spec") or {}
    yield from bad_labels((template.get("metadata") or {}).get("labels") or {}, f"{where}.metadata.labels")
    for container in containers(pod):
        at = f"{where}.spec.containers[{container.get('name')}]"
        yield from bad_image(container.get("image"), f"{at}.image")
        yield from bad_resources(container.get("resources") or {}, f"{at}.resources")
        yield from bad_ports(container.get("ports") or (), f"{at}.ports")
        yield from twice([entry.get("name") for entry in container.get("env") or ()], f"{at}.env")
    yield from bad_mounts(pod, f"{where}.spec")
    yield from bad_spread(pod, f"{where}.spec.topologySpreadConstraints")
    yield from (f"{where}: PodSecurity restricted: {line}" for line in violations(pod))


def bad_image(image: Any, where: str) -> Iterator[str]:
    """Yield what is wrong with the name of an image."""
    if not isinstance(image, str) or not image:
        yield f"{where}: there is none"
    elif not IMAGE.fullmatch(image):
        yield f"{where}: {image!r} is not the name of an image"


def bad_resources(resources: dict[str, Any], where: str) -> Iterator[str]:
    """Yield quantities that are none, requests above limits, and GPUs that are asked for without a limit."""
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for kind, values in (("requests", requests), ("limits", limits)):
        for name, value in values.items():
            try:
                amount(value)
            except ValueError as error:
                yield f"{where}.{kind}.{name}: {error}"
                return
    for name, value in requests.items():
        if name in limits and amount(value) > amount(limits[name]):
            yield f"{where}.requests.{name}: {value} is more than its limit {limits[name]}"
        if "/" in name and limits.get(name) != value:
            yield f"{where}.limits.{name}: must equal the request, {value}"


def bad_ports(ports: Any, where: str) -> Iterator[str]:
    """Yield ports whose names are no port names, or are there twice."""
    for port in ports:
        if "name" in port and not PORT_NAME.fullmatch(port["name"]):
            yield f"{where}: {port['name']!r} is not a port name: at most 15 lower-case letters, digits and -"
    yield from twice([port["name"] for port in ports if "name" in port], where)


def bad_spread(pod: dict[str, Any], where: str) -> Iterator[str]:
    """Yield label keys that a constraint selects by value and by the pod's own value: pods with both are refused."""
    for constraint in pod.get("topologySpreadConstraints") or ():
        selector = constraint.get("labelSelector") or {}
        named = {*(selector.get("matchLabels") or {}), *(one["key"] for one in selector.get("matchExpressions") or ())}
        for key in constraint.get("matchLabelKeys") or ():
            if key in named:
                yield f"{where}: {key} is in matchLabelKeys and in labelSelector"


def bad_mounts(pod: dict[str, Any], where: str) -> Iterator[str]:
    """Yield mounts of volumes that are not there, and places that are mounted twice."""
    volumes = [volume.get("name") for volume in pod.get("volumes") or ()]
    yield from twice(volumes, f"{where}.volumes")
    for container in containers(pod):
        places = [mount.get("mountPath") for mount in container.get("volumeMounts") or ()]
        yield from twice(places, f"{where}.containers[{container.get('name')}].volumeMounts")
        for mount in container.get("volumeMounts") or ():
            if mount.get("name") not in volumes:
                yield f"{where}: container {container.get('name')!r} mounts {mount.get('name')!r}, which is no volume"


def twice(names: list[Any], where: str) -> Iterator[str]:
    """Yield the names that are there more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{where}: {name!r} is there {count} times"
