"""What PodSecurity `restricted` asks of a pod, checked without a cluster.

Source: the Pod Security Standards of Kubernetes, level `restricted`, with all of `baseline` in it.
"""

from collections.abc import Iterator
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = ("RuntimeDefault", "Localhost")
HOST = ("hostNetwork", "hostPID", "hostIPC")


def violations(pod: dict[str, Any]) -> list[str]:
    """Return why a pod with this spec would be refused under `restricted`, in the words of the admission's fields."""
    return [*of_the_pod(pod), *(line for container in containers(pod) for line in of_a_container(pod, container))]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every container of a pod's spec."""
    return [one for kind in ("initContainers", "containers", "ephemeralContainers") for one in pod.get(kind) or ()]


def of_the_pod(pod: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the pod itself."""
    for field in HOST:
        if pod.get(field):
            yield f"{field} is true"
    security = pod.get("securityContext") or {}
    if security.get("sysctls"):
        yield "securityContext.sysctls is set"
    if security.get("runAsUser") == 0:
        yield "securityContext.runAsUser is 0"
    for volume in pod.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume.get('name')!r} is a {', '.join(sorted(kinds - VOLUMES))}"


def of_a_container(pod: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one container."""
    name, whole = container.get("name"), pod.get("securityContext") or {}
    own = container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"container {name!r}: allowPrivilegeEscalation is not false"
    if own.get("privileged"):
        yield f"container {name!r}: privileged is true"
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"container {name!r}: capabilities.drop lacks ALL"
    added = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
    if added:
        yield f"container {name!r}: capabilities.add has {', '.join(sorted(added))}"
    if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
        yield f"container {name!r}: runAsNonRoot is not true"
    if own.get("runAsUser") == 0:
        yield f"container {name!r}: runAsUser is 0"
    profile = (own.get("seccompProfile") or whole.get("seccompProfile") or {}).get("type")
    if profile not in SECCOMP:
        yield f"container {name!r}: seccompProfile is {profile or 'not set'}"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield f"container {name!r}: has a hostPort"
    if own.get("procMount", "Default") != "Default":
        yield f"container {name!r}: procMount is {own['procMount']}"
