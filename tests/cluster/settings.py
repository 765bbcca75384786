"""What the environment says of the cluster that the suite may use, and what is missing, in words."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
BACKENDS = ("pytorchjob", "trainjob")


@dataclass(frozen=True)
class Settings:
    """The variables `TRM_TEST_*`; docs/testing-on-a-cluster.md says what each means."""

    image: str
    trmctl_image: str | None
    store: str | None
    store_endpoint: str | None
    """The store's address as this machine sees it; None: AWS."""
    store_endpoint_pods: str | None
    host: str | None
    """This machine's address as pods see it; None: guessed."""
    cpu: str
    memory: str
    patience: float
    """What every timeout is multiplied by."""
    backends: tuple[str, ...]
    keep: bool


def missing(environment: Mapping[str, str], in_cluster: bool) -> str | None:
    """Return which variable is missing and what it should say; None: none is.

    The kubeconfig in the home folder is not used unasked: it may lead to a cluster that nobody wants tested.
    """
    if not environment.get("KUBECONFIG") and not in_cluster:
        return "KUBECONFIG is not set: the kubeconfig of a cluster to test on"
    if not environment.get("TRM_TEST_IMAGE"):
        return "TRM_TEST_IMAGE is not set: the trainer's image, as the cluster's machines name it"
    return None


def read(environment: Mapping[str, str] = os.environ, in_cluster: bool | None = None) -> Settings | str:
    """Return the settings, or what is missing."""
    lacks = missing(environment, IN_CLUSTER.exists() if in_cluster is None else in_cluster)
    if lacks is not None:
        return lacks
    endpoint = environment.get("TRM_TEST_STORE_ENDPOINT") or None
    wanted = [one.strip() for one in environment.get("TRM_TEST_BACKENDS", ",".join(BACKENDS)).split(",")]
    unknown = [one for one in wanted if one not in BACKENDS]
    if unknown:
        return f"TRM_TEST_BACKENDS: {', '.join(unknown)}: there are {', '.join(BACKENDS)}"
    return Settings(
        image=environment["TRM_TEST_IMAGE"],
        trmctl_image=environment.get("TRM_TEST_TRMCTL_IMAGE") or None,
        store=environment.get("TRM_TEST_STORE") or None,
        store_endpoint=endpoint,
        store_endpoint_pods=environment.get("TRM_TEST_STORE_ENDPOINT_PODS") or endpoint,
        host=environment.get("TRM_TEST_HOST") or None,
        cpu=environment.get("TRM_TEST_CPU") or "500m",
        memory=environment.get("TRM_TEST_MEMORY") or "1536Mi",
        patience=float(environment.get("TRM_TEST_PATIENCE") or 1),
        backends=tuple(wanted),
        keep=environment.get("TRM_TEST_KEEP") == "1",
    )


def own_address() -> str:
    """Return the address from which this machine would reach others; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostbyname(socket.gethostname())
