"""What the objects of a run are called in a cluster, and the labels by which they are found again."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from trmkit.spec.run import RunFile
from trmkit.stages import FOLLOW
from trmkit.store.layout import run_id

DOMAIN = "trm.dev"
JOB = f"{DOMAIN}/run"
"""Label of the job and of all that belongs to it, pods too: the job's name."""
NAME = f"{DOMAIN}/name"
"""Label: the run file's `name`."""
ID = f"{DOMAIN}/run-id"
"""Label: the run's id, the last part of its place in a store."""
OWNER = f"{DOMAIN}/owner"
"""Label: who the run is for, where the run file says it."""
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "trmctl"
"""Value of the label `MANAGED_BY`: every object of ours has it."""
OURS = f"{MANAGED_BY}={MANAGER}"
"""Label selector of everything that trmctl made."""
SPEC_HASH = f"{DOMAIN}/spec-hash"
"""Annotation: names the content of the rendered objects; the same run file, rendered again, gives the same."""
STORE = f"{DOMAIN}/store"
"""Annotation: address of the run in its store, as `s3://bucket/prefix/name/id`."""
TTL = f"{DOMAIN}/ttl-seconds"
"""Annotation: how long the job stays when it is over. A TrainJob has no field for it."""
STAGES = f"{DOMAIN}/stages"
"""Annotation: the stages of a job that does not do all of them."""
BESIDE = f"{DOMAIN}/beside"
"""Label of a job that scores the checkpoints of another one: the name of that one, which it goes with."""
TRMRUN = f"{DOMAIN}/trmrun"
"""Label of a job that a TrmRun is for: the TrmRun's name."""
TRMRUN_UID = f"{DOMAIN}/trmrun-uid"
"""Annotation of such a job: uid of the TrmRun, which tells it from another one that had its name."""
WANTED = f"{DOMAIN}/wanted"
"""Annotation of such a job: hash of what the TrmRun asked for when it was made, whoever renders it and how."""
VERSION = f"{DOMAIN}/version"
"""Annotation: version of trmctl that rendered the object."""

PYTORCH_CONTAINER = "pytorch"
"""Name of the trainer's container in a PyTorchJob; its webhook takes no other."""
TRAINJOB_CONTAINER = "node"
"""Name of the trainer's container in a TrainJob."""
RUN_FILE_KEY = "run.yaml"
"""Key of the run file in the run's ConfigMap, which has the job's name."""
METRICS_PORT = 9400
LONGEST = 45
"""Longest name of a job. A TrainJob's pods, and the one Service a worker of a PyTorchJob, need room behind it."""


def job_name(run: RunFile) -> str:
    """Return the name of the run's job: `<name>-<run id>`, a DNS-1035 label of at most 45 characters.

    The same run file always gives the same name. One too long is cut, and 4 digits of its hash keep it apart.
    """
    return NamedRun.of(run).job


@dataclass(frozen=True)
class NamedRun:
    """A run with its names, which take a hash of the run file to know and are worked out once."""

    run: RunFile
    id: str
    job: str
    """Name of the job, and of the ConfigMap."""

    @classmethod
    def of(cls, run: RunFile, stages: Sequence[str] = ()) -> "NamedRun":
        """Return the run with its names. A job that reads texts or scores is called by it, beside one that trains."""
        identity = run_id(run)
        own = FOLLOW.name if FOLLOW.name in stages else "features" if tuple(stages) == ("features",) else ""
        tail = f"{identity}-{own}" if own else identity
        room = LONGEST - len(tail) - 1
        if len(run.name) <= room:
            return cls(run, identity, f"{run.name}-{tail}")
        digest = hashlib.sha256(run.name.encode()).hexdigest()[:4]
        return cls(run, identity, f"{run.name[: room - 5].rstrip('-')}-{digest}-{tail}")

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of every object of the run; ours win over those of the run file."""
        owner = self.run.cluster.owner
        return {
            **self.run.cluster.labels,
            **({OWNER: owner} if owner else {}),
            "app.kubernetes.io/name": "trm",
            MANAGED_BY: MANAGER,
            JOB: self.job,
            NAME: self.run.name,
            ID: self.id,
        }
