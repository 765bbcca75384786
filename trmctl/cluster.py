"""What the commands ask of a Kubernetes cluster: plain dictionaries in and out, and no client in sight.

`trmctl.kube` is the real one; tests pass one that lives in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Object = dict[str, Any]
"""A Kubernetes object as its JSON says it. What others wrote may lack anything: read it with `.get`."""


@dataclass(frozen=True)
class Kind:
    """A kind of object, by what an API server calls it."""

    group: str
    """API group; empty: the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What an object of this kind says as its `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version


PYTORCHJOB = Kind("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
TRAINJOB = Kind("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
RUNTIME = Kind("trainer.kubeflow.org", "v1alpha1", "clustertrainingruntimes", "ClusterTrainingRuntime", False)
JOBSET = Kind("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")
WORKFLOW = Kind("argoproj.io", "v1alpha1", "workflows", "Workflow")
WORKFLOW_TEMPLATE = Kind("argoproj.io", "v1alpha1", "workflowtemplates", "WorkflowTemplate")
CRON_WORKFLOW = Kind("argoproj.io", "v1alpha1", "cronworkflows", "CronWorkflow")
KUEUE_WORKLOAD = Kind("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")
LOCAL_QUEUE = Kind("kueue.x-k8s.io", "v1beta1", "localqueues", "LocalQueue")
CLUSTER_QUEUE = Kind("kueue.x-k8s.io", "v1beta1", "clusterqueues", "ClusterQueue", False)
POD_MONITOR = Kind("monitoring.coreos.com", "v1", "podmonitors", "PodMonitor")
PROMETHEUS = Kind("monitoring.coreos.com", "v1", "prometheuses", "Prometheus")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
JOB = Kind("batch", "v1", "jobs", "Job")
POD = Kind("", "v1", "pods", "Pod")
EVENT = Kind("", "v1", "events", "Event")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
SECRET = Kind("", "v1", "secrets", "Secret")
SERVICE = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")
QUOTA = Kind("", "v1", "resourcequotas", "ResourceQuota")
CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
NODE = Kind("", "v1", "nodes", "Node", False)
TRMRUN = Kind("trm.dev", "v1alpha1", "trmruns", "TrmRun")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
DEFINITION = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", False)


@dataclass(frozen=True)
class Change:
    """Something a watch saw."""

    type: str
    """ADDED, MODIFIED or DELETED."""
    object: Object


Opener = Callable[[str | None, str | None], "Cluster"]
"""Opens the cluster of a context, for a namespace; None: those the configuration names. `trmctl.kube.open_cluster`."""


class Cluster(Protocol):
    """A cluster. Every call has a timeout and is asked again where that makes sense; what is refused is an error.

    `namespace` is one of these: a name, or None for the one the configuration names. ClusterUnreachableError: it does
    not answer in time. ClusterForbiddenError: this user may not. ClusterRefusedError: the object is not taken.
    """

    @property
    def namespace(self) -> str:
        """Return the namespace the configuration names, or `default`."""

    @property
    def where(self) -> str:
        """Return what a person calls this cluster: context and server."""

    def serves(self, kind: Kind) -> bool:
        """Say whether the API server knows this kind, in this version."""

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """Return one object; None: there is none."""

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        """Return objects by label and field selector, all pages; `namespace="*"` asks every namespace."""

    def create(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object, unknown fields refused. ClusterConflictError: the name is taken."""

    def apply(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object or make it what `body` says (server-side apply)."""

    def patch(
        self, kind: Kind, name: str, changes: Object, namespace: str | None = None, *, subresource: str = ""
    ) -> Object:
        """Change an object, or its `status`, by a merge patch. ClusterMissingError: there is none.

        ClusterConflictError: `changes` names a `metadata.resourceVersion` or `uid`, and the object has another one.
        """

    def delete(self, kind: Kind, name: str, namespace: str | None = None, *, uid: str = "") -> bool:
        """Delete an object, what belongs to it in the background; False: there was none.

        ClusterConflictError: there is one, and its uid is not the one given.
        """

    def watch(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "", seconds: float
    ) -> Iterator[Change]:
        """Yield what is there as ADDED, then every change, for so long; lost connections are taken up again."""

    def log(
        self,
        pod: str,
        container: str,
        namespace: str | None = None,
        *,
        follow: bool = False,
        previous: bool = False,
        since: float | None = None,
        tail: int | None = None,
        stamps: bool = False,
    ) -> Iterator[str]:
        """Yield the lines of a container, of the last `since` seconds; ends when the container does.

        `stamps` puts when it was written, as RFC 3339, and a space before each line. ClusterMissingError: there is no
        such pod. ClusterNotReadyError: the container has not started.
        """

    def read_port(self, pod: str, port: int, path: str, namespace: str | None = None) -> str:
        """Return what a pod answers to an HTTP GET, through the API server's proxy."""

    def allowed(self, verb: str, kind: Kind, namespace: str | None = None, *, subresource: str = "") -> bool:
        """Say whether this user may do this (SelfSubjectAccessReview)."""

    def execute(self, pod: str, container: str, command: Sequence[str], namespace: str | None = None) -> int:
        """Run a command in a container, connected to this terminal; return its exit code."""

    def server(self) -> tuple[str, float]:
        """Return the API server's version and how many seconds its clock is ahead of ours."""
