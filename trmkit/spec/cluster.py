"""The `cluster` section: what a run asks of a Kubernetes cluster. A run on this machine ignores nearly all of it."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from trmkit.spec.base import NonNegativeInt, PositiveFloat, PositiveInt, Section, Sequence

LABEL = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
PREFIX = r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?"

QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"


def number_to_text(value: object) -> object:
    """Turn `cpu: 4` into `cpu: "4"`, as Kubernetes does."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(pattern=QUANTITY),
    BeforeValidator(number_to_text, json_schema_input_type=Annotated[str, Field(pattern=QUANTITY)] | float),
]
"""A Kubernetes quantity: `500m`, `8`, `16Gi`."""

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
"""A short Kubernetes name: lower-case letters, digits and dashes, at most 63."""

ObjectName = Annotated[
    str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
]
"""The name of a Kubernetes object: lower-case letters, digits, dashes and dots, at most 253."""

LabelKey = Annotated[str, Field(max_length=317, pattern=f"^{PREFIX}{LABEL}$")]
"""A label or annotation key, with or without a `domain/` in front."""

LabelValue = Annotated[str, Field(pattern=f"^{LABEL}?$")]
"""A label value: at most 63 letters, digits, dashes, dots and underscores."""

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""

ConfigKey = Annotated[str, Field(max_length=253, pattern=r"^[-._A-Za-z0-9]+$")]
"""A key inside a Secret or ConfigMap."""

MountPath = Annotated[str, Field(pattern=r"^/[^:\s]*$")]
"""An absolute path in the container."""


class Toleration(Section):
    """Lets the pods run on nodes with this taint."""

    key: LabelKey | None = None
    """Key of the taint; null, together with operator `Exists`, tolerates every taint."""

    operator: Literal["Exists", "Equal"] = "Exists"
    """Whether the taint's value matters."""

    value: str | None = None
    """Value of the taint; only with operator `Equal`."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; null takes every effect."""

    @model_validator(mode="after")
    def _value_goes_with_equal(self) -> "Toleration":
        if self.operator == "Equal" and (self.key is None or self.value is None):
            raise ValueError("operator: Equal needs both key and value")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("value: only goes with operator Equal")
        return self


class SecretEnv(Section):
    """One environment variable whose value stays in a Kubernetes Secret."""

    name: EnvName
    """Name of the environment variable."""

    secret: ObjectName
    """Name of the Secret, in the namespace of the run."""

    key: ConfigKey
    """Key in the Secret."""


class ClaimVolume(Section):
    """A PersistentVolumeClaim that exists already."""

    kind: Literal["pvc"]
    """What the volume is made of."""

    name: DnsLabel
    """Name of the volume in the pod."""

    mount_path: MountPath
    """Where the container sees it."""

    claim: ObjectName
    """Name of the PersistentVolumeClaim."""

    sub_path: str | None = None
    """Folder of the volume that is mounted; null mounts all of it."""

    read_only: bool = False
    """Mount it read-only."""


class EmptyDirVolume(Section):
    """Scratch space that goes away with the pod."""

    kind: Literal["emptyDir"]
    """What the volume is made of."""

    name: DnsLabel
    """Name of the volume in the pod."""

    mount_path: MountPath
    """Where the container sees it."""

    size_limit: Quantity | None = None
    """Most it may hold; null: no limit of its own."""

    memory: bool = False
    """Keep it in memory, where it counts against the container's memory."""


class ConfigMapVolume(Section):
    """The keys of a ConfigMap as read-only files."""

    kind: Literal["configMap"]
    """What the volume is made of."""

    name: DnsLabel
    """Name of the volume in the pod."""

    mount_path: MountPath
    """Where the container sees it."""

    config_map: ObjectName
    """Name of the ConfigMap."""


class SecretVolume(Section):
    """The keys of a Secret as read-only files."""

    kind: Literal["secret"]
    """What the volume is made of."""

    name: DnsLabel
    """Name of the volume in the pod."""

    mount_path: MountPath
    """Where the container sees it."""

    secret: ObjectName
    """Name of the Secret."""


Volume = Annotated[ClaimVolume | EmptyDirVolume | ConfigMapVolume | SecretVolume, Field(discriminator="kind")]
"""Storage mounted into the pods."""


class ClusterSection(Section):
    """What the run asks of a Kubernetes cluster. The defaults describe one process on a CPU."""

    image: Annotated[str, Field(min_length=1, pattern=r"^[^\s]+$")] = "trm:latest"
    """Container image with this project in it. Name a digest (`…@sha256:…`) to make a run repeatable."""

    trmctl_image: Annotated[str, Field(min_length=1, pattern=r"^[^\s]+$")] | None = None
    """Image of the pipeline steps that submit jobs and follow them; null takes the WorkflowTemplate's."""

    backend: Literal["auto", "pytorchjob", "trainjob"] = "auto"
    """Kind of job: a Training Operator PyTorchJob, a Trainer v2 TrainJob, or whichever the cluster serves."""

    namespace: DnsLabel | None = None
    """Namespace of the run; null takes the one of the current kubeconfig context."""

    nodes: PositiveInt = 1
    """Pods that train together, each on a machine of its own."""

    gpus_per_node: NonNegativeInt = 0
    """GPUs, and so processes, per pod; 0 trains with one process on the CPU."""

    gpu_resource: LabelKey = "nvidia.com/gpu"
    """Name under which the cluster offers its GPUs."""

    cpu: Quantity = "4"
    """CPUs per pod."""

    memory: Quantity = "16Gi"
    """Memory per pod, shared memory included."""

    ephemeral_storage: Quantity | None = None
    """Local disk per pod; null asks for none."""

    scratch: Quantity | None = "20Gi"
    """Most that `storage.path` and `storage.data` may hold in a pod, where they are no volume; null: no limit."""

    tmp: Quantity | None = "8Gi"
    """Most that /tmp may hold in a pod: caches of compilers and downloads. Null: no limit."""

    resources: dict[LabelKey, Quantity] = {}
    """Further resources per pod, by the names the cluster gives them, as in `rdma/hca_a: 1`."""

    shm: Quantity | None = "1Gi"
    """Size of /dev/shm; it counts against `memory`. null leaves the container runtime's 64 MiB."""

    queue: DnsLabel | None = None
    """Kueue LocalQueue the run waits in; null: it does not wait in a queue."""

    priority: DnsLabel | None = None
    """Kueue WorkloadPriorityClass: the order in the queue."""

    priority_class: ObjectName | None = None
    """PriorityClass of the pods: who is evicted for whom."""

    gang: Literal["none", "volcano", "coscheduling"] = "none"
    """Who makes sure that all pods start together when there is no queue. The operator must be set up for it."""

    fabric: Literal["none", "ib", "roce", "efa", "tcpx"] = "none"
    """Fast network between machines: InfiniBand, RoCE, AWS EFA, or Google's GPUDirect-TCPX."""

    spread: Literal["required", "preferred", "none"] = "required"
    """Whether pods of a run go to different machines, as far as there are any."""

    tolerations: Sequence[Toleration] = ()
    """Taints the pods tolerate, besides that of the GPU."""

    node_selector: dict[LabelKey, LabelValue] = {}
    """Labels a node must have."""

    service_account: ObjectName | None = None
    """Service account of the pods (for example one with a cloud role for S3); null takes the namespace's default."""

    image_pull_secrets: Sequence[ObjectName] = ()
    """Secrets with the registry's credentials."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled."""

    env: dict[EnvName, str] = {}
    """Environment variables. No secrets here: the run file is kept beside the checkpoints."""

    secret_env: Sequence[SecretEnv] = ()
    """Environment variables whose values stay in Secrets."""

    storage_secret: ObjectName | None = None
    """Secret with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` for `storage.remote`, and perhaps
    `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL_S3` and `AWS_REGION`. Null: the service account has a cloud role."""

    runtime: ObjectName = "trm"
    """ClusterTrainingRuntime of a TrainJob."""

    volumes: Sequence[Volume] = ()
    """Storage mounted into the pods."""

    ttl_seconds: NonNegativeInt | None = 86400
    """How long a finished job stays; null: for ever."""

    deadline_seconds: PositiveInt | None = None
    """Longest time its pods may run, over all starts; waiting and pauses do not count. Null: no limit."""

    restarts: NonNegativeInt = 5
    """How often in a row the run may be started again, or its pods wait for each other, without getting further; then
    it has failed for good."""

    grace_seconds: PositiveInt = 120
    """Time to save and leave after SIGTERM; more than a checkpoint takes."""

    rendezvous_seconds: PositiveInt = 900
    """How long the pods wait for each other at the start."""

    stall_minutes: PositiveFloat | None = 30.0
    """No step for so long ends the run's processes, to be started again; null: it may take as long as it takes."""

    owner: LabelValue | None = None
    """Who the run is for: label `trm.dev/owner` of every object, by which dashboards add up GPU hours."""

    labels: dict[LabelKey, LabelValue] = {}
    """Labels put on every object of the run."""

    annotations: dict[LabelKey, str] = {}
    """Annotations put on the pods."""

    @model_validator(mode="after")
    def _names_are_used_once(self) -> "ClusterSection":
        env = twice([*self.env, *(entry.name for entry in self.secret_env)])
        if env is not None:
            raise ValueError(f"secret_env: {env} is given more than once among env and secret_env")
        for attribute in ("name", "mount_path"):
            value = twice([getattr(volume, attribute) for volume in self.volumes])
            if value is not None:
                raise ValueError(f"volumes: two have the {attribute} {value!r}")
        if self.fabric != "none" and self.gpus_per_node == 0:
            raise ValueError(f"fabric: {self.fabric} needs gpus_per_node of 1 or more")
        return self


def twice(values: list[str]) -> str | None:
    """Return the first of `values` that is there more than once."""
    return next((value for value, count in Counter(values).items() if count > 1), None)
