"""Makes a namespace for one session, what runs need in it, and a store that pods reach; removes all of it again."""

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.cluster import runfiles
from tests.cluster.lab import START, TURN, Lab, commands_environment
from tests.cluster.relay import Relay
from tests.cluster.settings import Settings, own_address
from tools.seaweed import BUCKET, Seaweed
from trmctl import pods as p
from trmctl.cluster import (
    CONFIG_MAP,
    CRON_WORKFLOW,
    NAMESPACE,
    POD,
    PYTORCHJOB,
    RUNTIME,
    SECRET,
    SERVICE_ACCOUNT,
    TRAINJOB,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
    Kind,
    Object,
)
from trmctl.kube import open_cluster
from trmkit.render.base import TRAINER
from trmkit.render.pod import CONTAINER_SECURITY, POD_SECURITY

RBAC = "rbac.authorization.k8s.io"
ROLE, ROLE_BINDING = Kind(RBAC, "v1", "roles", "Role"), Kind(RBAC, "v1", "rolebindings", "RoleBinding")
ALL_KINDS = {
    kind.kind: kind
    for kind in (
        CONFIG_MAP, NAMESPACE, POD, PYTORCHJOB, RUNTIME, SECRET, SERVICE_ACCOUNT, TRAINJOB, WORKFLOW,
        WORKFLOW_TEMPLATE, CRON_WORKFLOW, ROLE, ROLE_BINDING,
    )
}  # fmt: skip
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")
REACH = "import sys, urllib.request, urllib.error\ntry:\n urllib.request.urlopen(sys.argv[1], timeout=10)\n"
REACH += "except urllib.error.HTTPError:\n pass"
"""Ends with 0 when a server answers, whatever it answers."""


@contextmanager
def laboratory(settings: Settings, folder: Path) -> Iterator[Lab]:
    """Yield a namespace with everything in it; what was made is removed, also after failures, unless it is kept."""
    namespace = f"trm-test-{secrets.token_hex(4)}"
    cluster = open_cluster(None, namespace)
    lab = Lab(cluster, namespace, settings, folder, commands_environment(folder, namespace, {}))
    with ExitStack() as last:
        runtimes: list[str] = []
        cluster.create(NAMESPACE, namespace_object(namespace))
        if not settings.keep:
            last.callback(lambda: [cluster.delete(RUNTIME, name) for name in runtimes])  # last: it stays while in use
            last.callback(remove, lab)
        last.callback(lab.end_all)
        make_base(lab, runtimes)
        try:
            last.enter_context(store(lab))
        except BaseException:
            print(lab.dump())  # no test has begun that could show it
            raise
        yield lab


def namespace_object(name: str) -> Object:
    """Return the namespace, with the strictest PodSecurity level."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "app.kubernetes.io/part-of": "trm-test"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def make_base(lab: Lab, runtimes: list[str]) -> None:
    """Apply what `render --base`, `--runtime` and `--templates` print; note in `runtimes` one that was not there."""
    words = ["--base", "--runtime", *(["--templates"] if lab.serves(WORKFLOW) else [])]
    objects = json.loads(lab.trmctl("render", *words, "-n", lab.namespace, "-o", "json").out)["items"]
    for found in objects:
        kind = ALL_KINDS[found["kind"]]
        if kind == RUNTIME:
            if not lab.serves(RUNTIME) or lab.cluster.get(RUNTIME, p.name(found)) is not None:
                continue
            runtimes.append(p.name(found))
        lab.cluster.apply(kind, found)


@contextmanager
def store(lab: Lab) -> Iterator[None]:
    """Give the lab a store for the time of a `with` block: the one that is named, or a server on this machine."""
    settings = lab.settings
    with ExitStack() as last:
        if settings.store is not None:
            address, endpoint = f"{settings.store.rstrip('/')}/{lab.namespace}", settings.store_endpoint_pods
            here = {"AWS_ENDPOINT_URL_S3": settings.store_endpoint} if settings.store_endpoint else {}
        else:
            try:
                server = Seaweed(lab.folder / "seaweed")
                server.start()
            except RuntimeError as error:
                lab.no_store = f"{error}; or set TRM_TEST_STORE to a store that pods reach"
                yield
                return
            last.callback(server.stop)
            relay = last.enter_context(Relay(urlsplit(server.endpoint).port or 0))
            endpoint = f"http://{settings.host or own_address()}:{relay.port}"
            address, here = f"s3://{BUCKET}/{lab.namespace}", server.environment
        lab.environment.update({name: value for name, value in here.items() if value})
        make_secret(lab, endpoint)
        problem = unreachable(lab, endpoint) if endpoint is not None else ""
        if problem:
            lab.no_store = f"pods do not reach the store at {endpoint} ({problem}): set TRM_TEST_HOST or TRM_TEST_STORE"
        else:
            lab.store = address
        yield


def make_secret(lab: Lab, endpoint: str | None) -> None:
    """Make the Secret with which pods reach the store."""
    values = {name: lab.environment[name] for name in CREDENTIALS if lab.environment.get(name)}
    if endpoint is not None:
        values["AWS_ENDPOINT_URL_S3"] = endpoint
    about = {"name": runfiles.SECRET, "namespace": lab.namespace}
    lab.cluster.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": values})


def unreachable(lab: Lab, endpoint: str) -> str:
    """Return why a pod of this namespace does not reach an address; empty: it does. That also tries the image."""
    name = "reach-store"
    lab.cluster.create(POD, visitor(name, lab, ["python", "-c", REACH, endpoint]))

    def over() -> Object | None:
        found = lab.cluster.get(POD, name, lab.namespace)
        return found if found is not None and p.is_over(found) else None

    found = lab.until(over, START, f"a pod of {lab.settings.image} runs to its end")
    assert found is not None
    said = lab.log(found).strip().splitlines()
    lab.cluster.delete(POD, name, lab.namespace)
    return "" if p.phase(found) == "Succeeded" else (said[-1] if said else "no word")


def visitor(name: str, lab: Lab, command: list[str]) -> Object:
    """Return a pod of the trainer's image that runs one command."""
    container = {
        "name": "main", "image": lab.settings.image, "imagePullPolicy": "IfNotPresent", "command": command,
        "securityContext": CONTAINER_SECURITY, "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}},
    }  # fmt: skip
    spec = {
        "restartPolicy": "Never", "serviceAccountName": TRAINER, "automountServiceAccountToken": False,
        "enableServiceLinks": False, "securityContext": POD_SECURITY, "containers": [container],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": lab.namespace}, "spec": spec}


def remove(lab: Lab) -> None:
    """Remove the namespace and wait until it is gone."""
    lab.cluster.delete(NAMESPACE, lab.namespace)
    lab.until(lambda: lab.cluster.get(NAMESPACE, lab.namespace) is None, TURN, f"namespace {lab.namespace} is gone")
