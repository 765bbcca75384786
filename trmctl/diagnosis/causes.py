"""What goes wrong in clusters, how it was seen to look, and what helps. Data for `trmctl.diagnosis.why`.

The texts on the left are those of Kubernetes 1.36, containerd, Training Operator 1.9 and Kueue 0.19, matched in parts
that versions have in common.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """A cause, and how it is known."""

    pattern: str
    """Regular expression in what was said; for endings, the reason."""
    title: str
    next: str

    def fits(self, text: str) -> bool:
        """Say whether this is it."""
        return re.search(self.pattern, text, re.IGNORECASE) is not None


WAITING = (
    Cause("InvalidImageName", "the name of the image is no name of an image", "correct cluster.image"),
    Cause(
        "ErrImageNeverPull", "the image is not on the machine, and pulling it is forbidden",
        "set cluster.image_pull_policy to IfNotPresent",
    ),
    Cause(
        r"(ErrImagePull|ImagePullBackOff).*(unauthorized|authentication|denied|forbidden|401|403)",
        "the registry does not let the cluster have the image", "name its secret in cluster.image_pull_secrets",
    ),
    Cause(
        r"(ErrImagePull|ImagePullBackOff).*(no such host|i/o timeout|connection refused|deadline exceeded)",
        "the registry cannot be reached from the machine", "check its name in cluster.image, and the network",
    ),
    Cause("ErrImagePull|ImagePullBackOff", "the image cannot be pulled", "check that cluster.image is there"),
    Cause(
        r"CreateContainerConfigError.*secret", "a Secret, or a key of it, is missing",
        "make the Secret that cluster.storage_secret or cluster.secret_env names, in this namespace",
    ),
    Cause("CreateContainerConfigError", "the container cannot be set up", "correct what the message names"),
    Cause(
        "CreateContainerError|RunContainerError|StartError", "the container cannot be started",
        "check that cluster.image has this project in it, for this kind of machine",
    ),
    Cause("CrashLoopBackOff", "a container ends again and again", "trmctl logs --previous shows its last words"),
)  # fmt: skip
"""By `reason message` of a container that waits."""

UNSCHEDULABLE = (
    Cause(
        r"persistentvolumeclaim .* not found", "a PersistentVolumeClaim is missing",
        "make it, or correct the claim in cluster.volumes",
    ),
    Cause(r"unbound.*PersistentVolumeClaim", "a PersistentVolumeClaim has no volume", "kubectl describe pvc says why"),
    Cause(
        r"Insufficient \S*(gpu|rdma|efa|hca)", "no machine has enough free GPUs or network devices",
        "ask for less (cluster.nodes, cluster.gpus_per_node), wait, or use a queue (cluster.queue)",
    ),
    Cause(
        r"Insufficient (cpu|memory|ephemeral-storage)", "no machine has that much free",
        "ask for less: cluster.cpu, cluster.memory, cluster.ephemeral_storage",
    ),
    Cause(
        r"untolerated taint", "the machines have a taint that the run does not tolerate",
        "add it to cluster.tolerations; kubectl describe node shows it",
    ),
    Cause(
        r"didn't match Pod's node affinity/selector", "no machine has the labels asked for",
        "correct cluster.node_selector; kubectl get nodes --show-labels",
    ),
    Cause(
        r"topology spread", "there are fewer machines than pods, and each wants one of its own",
        "lower cluster.nodes, or set cluster.spread to preferred",
    ),
    Cause(r"were unschedulable", "the machines are cordoned", "wait until they are given back, or ask who drains them"),
)  # fmt: skip
"""By the scheduler's message. Several may hold; the first is shown."""

NOT_MADE = (
    Cause(
        "violates PodSecurity", "the namespace's PodSecurity level forbids the pods",
        "render again with this version, take another namespace, or ask for a lower level",
    ),
    Cause("exceeded quota", "the namespace's quota is used up", "ask for less, or free some: kubectl describe quota"),
    Cause("failed quota", "the namespace's quota wants limits that the pods lack", "kubectl describe quota"),
    Cause("no PriorityClass", "the PriorityClass is not there", "correct cluster.priority_class"),
    Cause(
        "serviceaccount .* not found|error looking up service account", "the service account is not there",
        "correct cluster.service_account, or have it made",
    ),
    Cause(
        "object is being deleted", "pods of an earlier job of this name are still leaving",
        "wait: they are made as soon as those are gone",
    ),
    Cause("must be no more than 63 characters|name is too long", "the job's name is too long", "shorten `name`"),
    Cause("failed calling webhook", "an admission webhook is down", "trmctl doctor says which"),
    Cause("is invalid", "the cluster refuses the pods as they are rendered", "correct what the message names"),
    Cause("forbidden", "the cluster refuses the pods", "the message says what is against them"),
)  # fmt: skip
"""By the message of events such as FailedCreatePod, FailedCreateService, TrainJobResourcesCreationFailed."""

MOUNTS = (
    Cause(r"configmap .* not found", "a ConfigMap is missing", "make it; the run's own comes with trmctl submit"),
    Cause(r"secret .* not found", "a Secret is missing", "make it in this namespace, or correct cluster.volumes"),
    Cause(r"Multi-Attach", "a volume is held by another machine", "wait until the other pod is gone"),
    Cause(r".", "a volume cannot be mounted", "correct cluster.volumes, or ask who runs the storage"),
)
"""By the message of pod events FailedMount and FailedAttachVolume."""

ENDINGS = {
    "OutOfMemory": (
        "it ran out of memory",
        "raise cluster.memory (cluster.shm counts against it), or lower train.batch_size",
    ),
    "OutOfAttempts": (
        "it was started again and again without getting further, and gave up",
        "mend what ended the attempts before; trmctl submit then starts afresh",
    ),
    "Deadline": ("its time was up (cluster.deadline_seconds)", "raise it and submit again: it goes on where it was"),
    "Config": ("its run file cannot be used there", "correct what the message names and submit again"),
    "Failed": ("its training failed", "trmctl logs shows where"),
    "RendezvousTimeout": (
        "its pods did not find each other in time (cluster.rendezvous_seconds)",
        "see whether all of them get machines, or use a queue (cluster.queue)",
    ),
    "Stalled": (
        "no step was made for too long (cluster.stall_minutes), so it was ended",
        "trmctl logs --rank all shows the stacks of all processes",
    ),
    "BrokenGpu": (
        "a GPU, or its driver, does not work",
        "look at that machine and cordon it; other machines may have working ones",
    ),
    "StoreUnavailable": (
        "its store did not answer for storage.patience_minutes",
        "nothing, unless it repeats: trmctl doctor -c tries the store",
    ),
    "PeerLost": ("one of its pods lost another one", "nothing, unless it repeats: then look at that pod's machine"),
    "Preempted": ("its pods were told to leave", "nothing: it goes on from its checkpoint when it gets machines again"),
    "Killed": ("it was killed", "look at the machine: kubectl get events -A --field-selector involvedObject.kind=Node"),
    "StartError": ("its command cannot be started", "check that cluster.image has this project in it"),
    "DeadlineExceeded": ("its time was up", "raise cluster.deadline_seconds and submit again"),
    "Evicted": ("the machine ran out of something and put it out", "lower what it uses, or set cluster.scratch"),
}
"""By reason of an ending: title, next."""

STORE = Cause(
    r"\bs3://|StoreError|NoSuchBucket|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|_probe",
    "the store cannot be read or written", "check storage.remote and cluster.storage_secret; trmctl doctor tries them",
)  # fmt: skip
"""In the last words of a run."""
