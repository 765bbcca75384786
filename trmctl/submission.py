"""Hands a run to a cluster: what would be made, whether it is there already, and making it so that twice is once.

A run's name in a cluster follows from its content, so a second submission meets the first one. Objects carry a hash of
what they are: the same hash means the same run, which is adopted; another one means other settings, which is said.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trmctl.cluster import (
    CONFIG_MAP,
    CRON_WORKFLOW,
    POD,
    PYTORCHJOB,
    TRAINJOB,
    WORKFLOW,
    Cluster,
    Kind,
    Object,
)
from trmctl.jobs import PODS, Job
from trmctl.phase import Phase
from trmctl.pods import is_leaving, seconds
from trmkit.errors import (
    ClusterConflictError,
    ClusterForbiddenError,
    ClusterMissingError,
    SpecError,
    TimedOutError,
)
from trmkit.ladder import Rung
from trmkit.render.beside import beside
from trmkit.render.names import SPEC_HASH
from trmkit.render.objects import Backend, render
from trmkit.spec.run import RunFile
from trmkit.stages import NAMES

KINDS: dict[str, Kind] = {kind.kind: kind for kind in (PYTORCHJOB, TRAINJOB, WORKFLOW, CRON_WORKFLOW)}
GONE_SECONDS = 600.0
"""How long a run that is replaced may take to save and leave."""
IN_THE_MAKING = 60.0
"""Seconds in which a ConfigMap without a job may be that of a submission under way."""
ADOPT, FAIL, REPLACE = "adopt", "fail", "replace"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Submission:
    """A run as it would be in a cluster."""

    run: RunFile
    config: Object
    body: Object
    namespace: str
    beside: "Submission | None" = None
    """The job that scores the checkpoints of this one, and goes with it."""
    trmrun: Object | None = None
    """The TrmRun that is handed in instead, whose controller makes the job; None: the job is handed in itself."""

    @property
    def kind(self) -> Kind:
        """What the run would be."""
        return KINDS[self.body["kind"]]

    @property
    def name(self) -> str:
        """Name of the job or workflow, and of the ConfigMap."""
        return str(self.body["metadata"]["name"])

    @property
    def digest(self) -> str:
        """Hash of what would be made."""
        return digest(self.body)


def choose(cluster: Cluster, run: RunFile, wanted: Backend | None = None) -> Backend:
    """Return the kind of job: the one asked for, or the first that the cluster serves. ClusterMissingError: none."""
    asked = wanted or run.cluster.backend
    serves = {"pytorchjob": PYTORCHJOB, "trainjob": TRAINJOB}
    for backend in ("pytorchjob", "trainjob") if asked == "auto" else (asked,):
        if cluster.serves(serves[backend]):
            return "trainjob" if backend == "trainjob" else "pytorchjob"
    what = "neither PyTorchJob nor TrainJob" if asked == "auto" else f"no {serves[asked].kind}"
    raise ClusterMissingError(
        f"{cluster.where} serves {what}",
        next="install the Kubeflow Training Operator or Trainer (docs/cluster.md has the commands); trmctl doctor",
    )


def job_submission(
    cluster: Cluster, run: RunFile, backend: Backend | None = None, stages: Sequence[str] = NAMES
) -> Submission:
    """Return a run as the job it would be. ClusterMissingError: the cluster serves none."""
    namespace = run.cluster.namespace or cluster.namespace
    config, body, *others = render(run, choose(cluster, run, backend), namespace=namespace, stages=stages)
    second = Submission(beside(run), others[0], others[1], namespace) if others else None
    return Submission(run, config, body, namespace, second)


def pipeline_submission(
    cluster: Cluster, run: RunFile, schedule: str | None = None, *, artifacts: bool = False
) -> Submission:
    """Return a run as the pipeline it would be, started by the clock if there is a `schedule`."""
    from trmkit.render.workflow import cron, pipeline

    namespace = run.cluster.namespace or cluster.namespace
    objects = (
        cron(run, schedule, namespace=namespace)
        if schedule
        else pipeline(run, namespace=namespace, artifacts=artifacts)
    )
    config, body = objects
    return Submission(run, config, body, namespace)


def sweep_submission(cluster: Cluster, run: RunFile, points: Sequence[Sequence[str]], parallel: int) -> Submission:
    """Return a sweep as the workflow it would be."""
    from trmkit.render.workflow import sweep

    namespace = run.cluster.namespace or cluster.namespace
    config, body = sweep(run, points, parallel=parallel, namespace=namespace)
    return Submission(run, config, body, namespace)


def ladder_submission(cluster: Cluster, run: RunFile, rungs: Sequence[Rung], parallel: int) -> Submission:
    """Return a ladder as the workflow it would be."""
    from trmkit.render.workflow import ladder

    namespace = run.cluster.namespace or cluster.namespace
    config, body = ladder(run, rungs, parallel=parallel, namespace=namespace)
    return Submission(run, config, body, namespace)


def existing(cluster: Cluster, submission: Submission) -> Job | None:
    """Return what has the run's name already, also as another kind of job; None: nothing."""
    kinds = (PYTORCHJOB, TRAINJOB) if submission.kind in (PYTORCHJOB, TRAINJOB) else (submission.kind,)
    for kind in kinds:
        try:
            found = cluster.get(kind, submission.name, submission.namespace)
        except (ClusterMissingError, ClusterForbiddenError):
            if kind == submission.kind:
                raise
            continue
        if found is not None:
            return Job(kind, found)
    return None


def plan(cluster: Cluster, submission: Submission, if_exists: str) -> tuple[str, Job | None]:
    """Return what a submission comes to, and what is there: `create`, `adopt`, `replace`, or `wait` till it is deleted.

    ClusterConflictError: something of its name is there that may be neither adopted nor replaced.
    """
    found = existing(cluster, submission)
    if found is None:
        return "create", None
    phase = found.state().phase
    if phase == Phase.DELETING:
        return "wait", found
    if if_exists == REPLACE or (if_exists == ADOPT and phase == Phase.FAILED):
        return REPLACE, found
    if if_exists == FAIL:
        raise ClusterConflictError(
            f"{found.kind.kind} {found.name} is there already: {phase}",
            next=f"trmctl status {found.name}; --if-exists adopt follows it, replace starts again from its checkpoint",
        )
    if digest(found.body) != submission.digest:
        raise ClusterConflictError(
            f"{found.kind.kind} {found.name} is there with other settings: {phase}",
            next=f"trmctl diff run.yaml {found.name} shows them; --if-exists replace takes the new ones",
        )
    return ADOPT, found


def submit(cluster: Cluster, submission: Submission, if_exists: str, say: Say) -> tuple[Job, str]:
    """Have the run be in the cluster; return it, and what was done: created, adopted or replaced.

    One that failed is made anew: it goes on from its newest checkpoint. ClusterConflictError: as for `plan`.
    ClusterRefusedError: it is not taken. Once it is there, so is the job beside it.
    """
    job, done = _submit(cluster, submission, if_exists, say)
    if submission.beside is not None:
        have_beside(cluster, submission.beside, job, say)
    return job, done


def _submit(cluster: Cluster, submission: Submission, if_exists: str, say: Say) -> tuple[Job, str]:
    what, found = plan(cluster, submission, if_exists)
    if found is not None and what == ADOPT:
        own_config(cluster, submission, found)
        say(f"{found.name} is there already: {found.state().phase.lower()}")
        return found, "adopted"
    if found is not None and what == REPLACE:
        say(f"replacing {found.name}, which is {found.state().phase.lower()}; it may save and leave first")
        cluster.delete(found.kind, found.name, found.namespace)
    if found is not None:
        say(f"waiting until {found.name} is gone")
        wait_gone(cluster, found)
    else:
        wait_left(cluster, submission, say)
    return create(cluster, submission), "replaced" if what == REPLACE else "created"


def have_beside(cluster: Cluster, wanted: Submission, owner: Job, say: Say) -> Job:
    """Have the job `wanted` be there and belong to `owner`, so that it goes with it.

    One that failed, or belonged to an earlier job, is made anew: what it has scored is kept, and it goes on.
    """
    found = existing(cluster, wanted)
    if found is not None:
        phase = found.state().phase
        same = any(one.get("uid") == owner.uid for one in found.body["metadata"].get("ownerReferences") or ())
        if same and digest(found.body) == wanted.digest and phase not in (Phase.DELETING, Phase.FAILED):
            own_config(cluster, wanted, found)
            return found
        say(f"replacing {found.name}, which is {phase.lower()}")
        cluster.delete(found.kind, found.name, found.namespace)
        wait_gone(cluster, found)
    else:
        wait_left(cluster, wanted, say)
    owned = {**wanted.body["metadata"], "ownerReferences": [reference(owner)]}
    job = create(cluster, replace(wanted, body={**wanted.body, "metadata": owned}))
    say(f"created beside it: {job.kind.kind} {job.name}, which scores its checkpoints")
    return job


def reference(job: Job) -> Object:
    """Return how an object says that it belongs to a job."""
    return {"apiVersion": job.kind.api_version, "kind": job.kind.kind, "name": job.name, "uid": job.uid}


def create(cluster: Cluster, submission: Submission) -> Job:
    """Make the ConfigMap and then the job, which pods would not start without; the ConfigMap goes when the job goes."""
    claim_config(cluster, submission)
    try:
        body = cluster.create(submission.kind, submission.body)
    except ClusterConflictError:  # somebody submitted the same in this very moment
        found = existing(cluster, submission)
        if found is None or digest(found.body) != submission.digest:
            raise
        body = found.body
    job = Job(submission.kind, body)
    own_config(cluster, submission, job)
    return job


def claim_config(cluster: Cluster, submission: Submission) -> None:
    """Make the ConfigMap, or take over one that was left behind.

    ClusterConflictError: somebody is submitting the same run with other settings, and was first; its pods would read
    our run file.
    """
    try:
        cluster.create(CONFIG_MAP, submission.config)
    except ClusterConflictError:
        there = cluster.get(CONFIG_MAP, submission.name, submission.namespace)
        about = (there or {}).get("metadata") or {}
        made = seconds(about.get("creationTimestamp")) or 0.0
        if there and digest(there) not in ("", submission.digest) and time.time() - made < IN_THE_MAKING:
            raise ClusterConflictError(
                f"{submission.name} is being submitted with other settings right now",
                next=f"look at it: trmctl status {submission.name}; or try again in a minute",
            ) from None
        cluster.apply(CONFIG_MAP, submission.config)


def own_config(cluster: Cluster, submission: Submission, job: Job) -> None:
    """Have the ConfigMap belong to the job, so that Kubernetes removes it with the job."""
    config = cluster.get(CONFIG_MAP, submission.name, submission.namespace)
    if config is None:
        config = cluster.apply(CONFIG_MAP, submission.config)
    owners = config["metadata"].get("ownerReferences") or []
    if any(owner.get("uid") == job.uid for owner in owners):
        return
    kept = [one for one in owners if one.get("name") != job.name]  # an owner of this name and another uid is gone
    changes = {"metadata": {"ownerReferences": [*kept, reference(job)]}}
    try:
        cluster.patch(CONFIG_MAP, submission.name, changes, submission.namespace)
    except ClusterMissingError:  # it was that of an earlier job, and was collected after it in this very moment
        cluster.apply(CONFIG_MAP, submission.config)
        cluster.patch(CONFIG_MAP, submission.name, changes, submission.namespace)


def wait_gone(cluster: Cluster, job: Job, seconds: float = GONE_SECONDS) -> None:
    """Wait until a deleted job and its pods are gone: a new one of its name could not make its pods before.

    TimedOutError: something is still there.
    """
    until, selector = time.monotonic() + seconds, f"{PODS[job.kind]}={job.name}" if job.kind in PODS else ""
    while True:
        body = cluster.get(job.kind, job.name, job.namespace)
        there = body is not None and body["metadata"].get("uid") == job.uid
        pods = cluster.list(POD, job.namespace, labels=selector) if selector else []
        if not there and not pods:
            return
        left = until - time.monotonic()
        if left <= 0:
            raise TimedOutError(f"{job.name} is not gone after {seconds:.0f} s", next=f"trmctl why {job.name}")
        for change in cluster.watch(POD, job.namespace, labels=selector, seconds=min(left, 5.0)):
            if change.type == "DELETED":
                break


def wait_left(cluster: Cluster, submission: Submission, say: Say) -> None:
    """Wait for pods of an earlier job of this name that still save: new ones could not have their names before.

    TimedOutError: some are still there.
    """
    if submission.kind not in (PYTORCHJOB, TRAINJOB):
        return
    until, told = time.monotonic() + GONE_SECONDS, False
    selector = f"{PODS[submission.kind]}={submission.name}"
    while any(is_leaving(pod) for pod in cluster.list(POD, submission.namespace, labels=selector)):
        left = until - time.monotonic()
        if left <= 0:
            raise TimedOutError(
                f"pods of an earlier {submission.name} are not gone after {GONE_SECONDS:.0f} s",
                next=f"kubectl get pods -n {submission.namespace} -l {selector}",
            )
        if not told:
            say(f"pods of an earlier {submission.name} still save and leave; waiting until they are gone")
            told = True
        for change in cluster.watch(POD, submission.namespace, labels=selector, seconds=min(left, 5.0)):
            if change.type == "DELETED":
                break


def digest(body: Object) -> str:
    """Return the hash that an object carries of what it is; empty: it carries none."""
    return str((body["metadata"].get("annotations") or {}).get(SPEC_HASH, ""))


def check_stages(text: str) -> tuple[str, ...]:
    """Return the stages that a list such as `train,evaluate` names, in their order. SpecError: one is none."""
    wanted = [one.strip() for one in text.split(",")]
    wrong = [one for one in wanted if one not in NAMES]
    if wrong:
        raise SpecError(f"--stages: {', '.join(wrong)}: there are {', '.join(NAMES)}")
    return tuple(one for one in NAMES if one in wanted)
