"""Every verb of every role is used by a command, and no command needs one that its role has not."""

import json
from pathlib import Path

import pytest

from tests.helm.guarded import GuardedCluster, Right, rights
from tests.trmctl.cluster_objects import add_event, add_job, add_pod, add_trainjob, add_workflow, created, running
from tests.trmctl.cluster_objects import failed as failed_conditions
from tests.trmctl.conftest import GOOD, Run
from tests.trmctl.test_doctor import healthy
from tests.trmctl.test_doctor_controller import with_a_controller
from trmctl.cluster import (
    CLAIM,
    CLUSTER_QUEUE,
    CRON_WORKFLOW,
    DEFINITION,
    JOBSET,
    KUEUE_WORKLOAD,
    LOCAL_QUEUE,
    POD,
    PYTORCHJOB,
    RUNTIME,
    SECRET,
    SERVICE_ACCOUNT,
    TRAINJOB,
    TRMRUN,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
)
from trmctl.phase import QUEUE
from trmkit.render.base import (
    CONTROLLER,
    CONTROLLER_LEASE,
    EDITOR,
    LOOKER,
    LOOKER_EVERYWHERE,
    METRICS,
    RESULTS,
    RULES,
    VIEWER,
    Rules,
)
from trmkit.render.names import job_name
from trmkit.spec.load import loads

SERVED = (
    PYTORCHJOB, TRAINJOB, RUNTIME, WORKFLOW, CRON_WORKFLOW, WORKFLOW_TEMPLATE, KUEUE_WORKLOAD, LOCAL_QUEUE,
    CLUSTER_QUEUE,
)  # fmt: skip
NAME, JOB = job_name(loads(GOOD)), "demo-0123abcd"
CONFIG_MAPS: Rules = (("", ("configmaps",), ("get",)),)
"""In the chart bound to two names: the namespace's defaults, and Kueue's configuration."""
DEFINITIONS: Rules = (("apiextensions.k8s.io", ("customresourcedefinitions",), ("get",)),)
"""In the chart bound to one name, that of TrmRun."""
STEP = (
    "submit",
    "--direct",
    "--yes",
    "--wait",
    "--follow",
    "--if-exists",
    "adopt",
    "--on-signal",
    "delete",
    "--outputs",
    "out",
)
"""What the train step of a pipeline executes (`workflows.parts.SUBMIT`)."""
SECRETS = {("", "secrets", "get")}
"""Whether a Secret is there cannot be asked without the right to read it; `submit` says that it does not know."""


QUEUES: Right = ("kueue.x-k8s.io", "clusterqueues", "get")
RUNTIMES: Right = ("trainer.kubeflow.org", "clustertrainingruntimes", "get")
"""Of the whole cluster: who is bound in a namespace is told that it is not known, and goes on."""
BEYOND_A_STEP = {("", "resourcequotas", "list"), QUEUES, RUNTIMES}
"""What `submit` looks at where it may, which whoever handed in the pipeline did before."""


OF_KUBECTL: set[Right] = {("trm.dev", "trmruns", "watch")}
"""What people use as `kubectl get trm --watch`; no command asks for it."""


class World:
    """Clusters with the same rules, one after another, and what was used and refused in all of them."""

    def __init__(self, rules: Rules, trmctl: Run, *, everywhere: bool = False) -> None:
        self.rules, self.trmctl, self.everywhere = rules, trmctl, everywhere
        self.clusters: list[GuardedCluster] = []

    def cluster(self, *served: object) -> GuardedCluster:
        """Return a new cluster that serves everything, or only these kinds, with what runs may name."""
        everywhere = self.rules if self.everywhere else ()
        made = GuardedCluster(self.rules, "team", *(served or SERVED), everywhere=everywhere)  # type: ignore[arg-type]
        made.put(SERVICE_ACCOUNT, {"metadata": {"name": "trm-trainer"}})
        if LOCAL_QUEUE in made.served:
            made.put(LOCAL_QUEUE, {"metadata": {"name": "batch"}, "spec": {"clusterQueue": "all"}})
            made.put(CLUSTER_QUEUE, {"metadata": {"name": "all"}})
        if RUNTIME in made.served:
            made.put(RUNTIME, {"metadata": {"name": "trm"}})
        if WORKFLOW_TEMPLATE in made.served:
            for name in ("trm-pipeline", "trm-sweep", "trm-ladder"):
                made.put(WORKFLOW_TEMPLATE, {"metadata": {"name": name}})
        self.clusters.append(made)
        return made

    def does(self, cluster: GuardedCluster, *words: str, code: int = 0) -> str:
        """Run a command and hold it to its exit code."""
        done = self.trmctl(*words, cluster=cluster)
        assert done.code == code, (words, done.err)
        return done.out

    @property
    def used(self) -> set[Right]:
        """What was used in any of them."""
        return set().union(*(one.used for one in self.clusters))

    @property
    def refused(self) -> set[Right]:
        """What was asked for and refused in any of them."""
        return set().union(*(one.refused for one in self.clusters))


def ends(cluster: GuardedCluster, name: str, *, good: bool = True) -> None:
    """Have the job be over the next time that somebody waits."""
    from tests.trmctl.cluster_objects import succeeded

    def over() -> None:
        cluster.edit(PYTORCHJOB, name, status={"conditions": (succeeded if good else failed_conditions)(name)})

    cluster.script = [over]


def with_a_run(world: World, *, queue: bool = False) -> GuardedCluster:
    """Return a cluster with a run that trains on two machines."""
    made = world.cluster()
    job = add_job(made, JOB, *running(), labels={QUEUE: "batch"} if queue else None)
    if queue:
        labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
        made.put(KUEUE_WORKLOAD, {"metadata": {"name": "w", "labels": labels}, "spec": {"active": True}})
    for rank in range(2):
        add_pod(made, rank)
        made.ports[(f"{JOB}-worker-{rank}", 9400, "/metrics")] = "trm_train_step 120.0\n"
    return made


def waits_in_a_queue(world: World) -> GuardedCluster:
    """Return a cluster with a run that Kueue has not let in."""
    made = world.cluster()
    job = add_job(made, JOB, created(), labels={QUEUE: "batch"}, policy={"cleanPodPolicy": "Running", "suspend": True})
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    made.put(KUEUE_WORKLOAD, {"metadata": {"name": "w", "labels": labels}, "spec": {"active": True}})
    return made


def looks(world: World) -> None:
    """Do everything that changes nothing."""
    cluster = with_a_run(world)
    add_event(cluster, "Unschedulable", "no machine")
    for words in (("list",), ("status", "demo"), ("logs", "demo", "--rank", "all"), ("why", "demo")):
        world.does(cluster, *words)
    ends(cluster, JOB)
    world.does(cluster, "watch", "demo")
    ends(cluster, JOB)
    world.does(cluster, "logs", "-f", "demo")
    Path("other.yaml").write_text(GOOD + "cluster: {memory: 1Gi}\n", encoding="utf-8")
    world.does(cluster, "diff", "other.yaml", JOB)
    world.does(waits_in_a_queue(world), "why", "demo")
    for words in (("list",), ("status", "kept"), ("why", "kept")):
        world.does(kept(world.cluster()), *words)
    watched = kept(world.cluster())
    watched.script = [lambda: watched.edit(TRMRUN, "kept", status={"phase": "Succeeded"})]
    world.does(watched, "watch", "kept")
    trainjob = world.cluster()
    add_trainjob(trainjob, status={"jobsStatus": [{"ready": 1}]})
    world.does(trainjob, "status", "demo")
    ends_trainjob(trainjob)
    world.does(trainjob, "watch", "demo")
    for kind in ("", "-cron"):
        workflow = world.cluster()
        if kind:
            workflow.put(CRON_WORKFLOW, cron())
        else:
            add_workflow(workflow, "Running")
        world.does(workflow, "status", "demo")
        workflow.script = [lambda workflow=workflow: over(workflow)]  # type: ignore[misc]
        world.does(workflow, "watch", "demo", code=0 if not kind else 4)


def kept(cluster: GuardedCluster) -> GuardedCluster:
    """Return the cluster with a run that a controller has yet to take up."""
    cluster.served |= {TRMRUN}
    cluster.put(TRMRUN, {"metadata": {"name": "kept"}, "spec": {"run": {"name": "kept"}}})
    return cluster


def ends_trainjob(cluster: GuardedCluster, name: str = JOB) -> None:
    """Have the TrainJob be over the next time that somebody waits."""
    status = {"conditions": [{"type": "Complete", "status": "True"}]}
    cluster.script = [lambda: cluster.edit(TRAINJOB, name, status=status)]


def over(cluster: GuardedCluster) -> None:
    """Have a workflow be done, and what starts by the clock be gone."""
    for name in cluster.names(WORKFLOW):
        cluster.edit(WORKFLOW, name, status={"phase": "Succeeded"})
    for name in cluster.names(CRON_WORKFLOW):
        cluster.remove(CRON_WORKFLOW, name)


def cron() -> dict[str, object]:
    """Return a pipeline that starts by the clock."""
    from tests.trmctl.cluster_objects import meta

    return {"metadata": meta(f"{JOB}-cron"), "spec": {"schedules": ["0 3 * * *"]}}


def hands_in(world: World, *words: str) -> None:
    """Hand in a run as a PyTorchJob and as a TrainJob; and in place of one that failed, while old pods still leave."""
    named = ("--set", "cluster.storage_secret=s3", "--set", "cluster.service_account=trm-trainer")
    for backend, kind in (("pytorchjob", PYTORCHJOB), ("trainjob", TRAINJOB)):
        cluster = world.cluster(*(one for one in SERVED if one not in (PYTORCHJOB, TRAINJOB)), kind)
        cluster.put(SECRET, {"metadata": {"name": "s3"}})
        asked = (*words, "--set", f"cluster.backend={backend}", *named, "--set", "cluster.queue=batch")
        if kind == TRAINJOB:
            ends_trainjob(cluster, NAME)
        else:
            ends(cluster, NAME)
        world.does(cluster, *asked)
    again = world.cluster()
    world.does(again, "submit", "--yes")
    again.edit(PYTORCHJOB, NAME, status={"conditions": failed_conditions(NAME)})
    labels = {"training.kubeflow.org/job-name": NAME}
    owner = [{"uid": again.see(PYTORCHJOB, NAME)["metadata"]["uid"]}]
    again.put(POD, {"metadata": {"name": f"{NAME}-worker-0", "labels": labels, "ownerReferences": owner}})
    again.lingering = True
    again.script = [again.sweep, lambda: None]
    world.does(again, *[word for word in words if word not in ("--wait", "--follow", "--on-signal", "delete")][:2])


def acts(world: World) -> None:
    """Do everything that changes runs."""
    for kind in (PYTORCHJOB, TRAINJOB, WORKFLOW, CRON_WORKFLOW):
        for commands in ((("pause",), ("resume",), ("cancel",)), (("delete",),)):
            made = world.cluster()
            if kind == PYTORCHJOB:
                add_job(made, JOB, *running())
            elif kind == TRAINJOB:
                add_trainjob(made, status={"jobsStatus": [{"ready": 1}]})
            elif kind == WORKFLOW:
                add_workflow(made, "Running")
            else:
                made.put(CRON_WORKFLOW, cron())
            for words in commands:
                world.does(made, *words, "demo")
    for words in (("submit", "--yes"), ("pause", "kept"), ("resume", "kept"), ("delete", "kept")):
        world.does(kept(world.cluster()), *words)
    queued = with_a_run(world, queue=True)
    world.does(queued, "pause", "demo")
    world.does(with_a_run(world), "exec", "demo", "--", "df")
    cancelled = world.cluster()
    world.does(cancelled, "submit", "--yes")
    world.does(cancelled, "cancel", "little")
    world.does(cancelled, "resubmit", "little", "--yes")
    pipelines = world.cluster()
    store = ("--set", "storage.remote=s3://bucket/runs")
    world.does(pipelines, "submit", "--yes", "--pipeline", *store)
    world.does(pipelines, "submit", "--yes", "--pipeline", "--cron", "0 3 * * *", *store)
    world.does(pipelines, "sweep", "--yes", "--grid", "seed=1,2", *store)
    Path("claim.yaml").write_text(
        GOOD + "cluster: {volumes: [{kind: pvc, name: sets, mount_path: /sets, claim: sets}]}\n", encoding="utf-8"
    )
    claim = world.cluster()
    claim.put(CLAIM, {"metadata": {"name": "sets"}})
    world.does(claim, "submit", "--yes", "-c", "claim.yaml")


def test_the_account_of_pipelines_may_do_what_its_steps_do_and_no_more(trmctl: Run) -> None:
    world = World(RULES, trmctl)
    hands_in(world, *STEP)
    for served in (SERVED, [kind for kind in SERVED if kind != PYTORCHJOB]):  # a signal comes
        told = world.cluster(*served)
        world.does(told, "submit", "--yes")
        told.fail("list", POD, KeyboardInterrupt())  # type: ignore[arg-type]
        world.does(told, *STEP, code=130)
        assert told.names(PYTORCHJOB) == told.names(TRAINJOB) == []
    slow = world.cluster()  # why it does not start is looked into; then it has a log
    world.does(slow, "submit", "--yes", "--set", "cluster.queue=batch")
    ends(slow, NAME)
    slow.script.insert(0, lambda: add_pod(slow, 0, job=NAME))
    world.does(slow, *STEP, "--set", "cluster.queue=batch")
    assert rights(RULES) - world.used == rights(RESULTS), "those alone are of Argo's own container"
    assert world.refused == SECRETS | BEYOND_A_STEP


@pytest.mark.parametrize("everywhere", [True, False], ids=["in the cluster", "in a namespace"])
def test_a_viewer_may_look_and_no_more(everywhere: bool, trmctl: Run) -> None:
    world = World(VIEWER + METRICS, trmctl, everywhere=everywhere)
    looks(world)
    hidden = set() if everywhere else {QUEUES}
    assert world.used == rights(VIEWER + METRICS) - hidden - OF_KUBECTL
    assert world.refused == hidden


def test_a_viewer_who_may_not_read_ports_sees_all_but_the_curves(trmctl: Run) -> None:
    world = World(VIEWER, trmctl)
    looks(world)
    assert world.refused == rights(METRICS) | {QUEUES}


@pytest.mark.parametrize("everywhere", [True, False], ids=["in the cluster", "in a namespace"])
def test_an_editor_may_do_everything_with_runs_and_no_more(everywhere: bool, trmctl: Run) -> None:
    world = World(EDITOR, trmctl, everywhere=everywhere)
    looks(world)
    hands_in(world, "submit", "--yes", "--wait", "--follow")
    acts(world)
    hidden = set() if everywhere else {QUEUES, RUNTIMES}
    assert world.used == rights(EDITOR) - hidden - OF_KUBECTL
    assert world.refused == SECRETS | hidden


ALL = (RULES, RESULTS, VIEWER, EDITOR, LOOKER, LOOKER_EVERYWHERE, CONTROLLER, CONTROLLER_LEASE)


@pytest.mark.parametrize("rules", ALL)
def test_no_rule_has_a_wildcard_or_reads_secrets(rules: Rules) -> None:
    for right in rights(rules):
        assert "*" not in "".join(right)
        assert right[1] != "secrets"


def test_the_account_of_helm_test_may_look_at_what_doctor_looks_at_and_no_more(trmctl: Run) -> None:
    whole = healthy()
    more = (*LOOKER_EVERYWHERE, *CONFIG_MAPS, *DEFINITIONS)
    served = (*whole.served, TRAINJOB, JOBSET, RUNTIME, TRMRUN, DEFINITION)
    cluster = GuardedCluster((*LOOKER, *CONFIG_MAPS), "team", *served, everywhere=more)
    cluster._objects = whole._objects
    cluster.put(RUNTIME, {"metadata": {"name": "trm"}})
    with_a_controller(cluster)
    assert trmctl("doctor", "--in-cluster", cluster=cluster).code == 0
    assert cluster.used == rights((*LOOKER, *more))
    assert cluster.refused == set()
    alone = GuardedCluster((*LOOKER, *CONFIG_MAPS), "team", *whole.served, TRMRUN, DEFINITION)
    alone._objects = whole._objects
    found = trmctl("doctor", "--in-cluster", cluster=alone)
    assert found.code == 0
    assert alone.used == rights((*LOOKER, *CONFIG_MAPS))
    assert "unknown" in found.out


def test_an_editor_has_every_right_that_doctor_asks_for(trmctl: Run) -> None:
    cluster = GuardedCluster(EDITOR, "team", *SERVED)
    lines = trmctl("doctor", "-o", "json", cluster=cluster).out
    said = {one["check"]: one for one in json.loads(lines)["findings"]}
    assert said["rights"]["state"] == "ok"
