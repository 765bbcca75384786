"""Everything a run needs of a cluster, looked at one by one. Every check ends in a finding; none is left out unseen."""

from collections.abc import Callable, Iterable, Iterator

from trmctl.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    JOBSET,
    LOCAL_QUEUE,
    NAMESPACE,
    NODE,
    POD,
    POD_MONITOR,
    PRIORITY_CLASS,
    PROMETHEUS,
    PYTORCHJOB,
    RUNTIME,
    SECRET,
    SERVICE_ACCOUNT,
    TRAINJOB,
    WORKFLOW,
    WORKFLOW_TEMPLATE,
    Cluster,
    Kind,
)
from trmctl.doctor.finding import Finding, State, ok
from trmctl.doctor.objects import enabled, selects, smallest, usable
from trmkit.errors import ClusterError, ClusterForbiddenError, ClusterRefusedError, ClusterUnreachableError, SpecError
from trmkit.render.base import KUEUE_CONFIG, STEP, TRAINER
from trmkit.render.base import WORKFLOW as WORKFLOW_ACCOUNT
from trmkit.spec.cluster import ClusterSection
from trmkit.spec.run import RunFile
from trmkit.spec.storage import StorageSection

CLOCK_WARNING, CLOCK_FAILURE = 30.0, 300.0
"""Seconds between two clocks: the first confuses ages, the second makes S3 refuse signatures."""
NEEDED: tuple[tuple[tuple[str, ...], Kind, str], ...] = (
    (("create", "get", "patch", "delete"), CONFIG_MAP, ""),
    (("list", "watch", "create"), POD, ""),
    (("get",), POD, "log"),
    (("list",), EVENT, ""),
)
"""What `submit`, `status`, `logs` and `why` do besides with jobs."""
USEFUL: tuple[tuple[str, Kind, str, str], ...] = (
    ("get", POD, "proxy", "watch shows curves through it"),
    ("create", POD, "exec", "exec needs it"),
    ("get", SECRET, "", "submit looks by it whether secrets are there"),
)


OF_A_PERSON = "this account only looks at the cluster; a person's `trmctl doctor` has it tried"


class Doctor:
    """The checks on one cluster, for a run file if there is one."""

    def __init__(self, cluster: Cluster, run: RunFile | None = None, *, only_look: bool = False) -> None:
        """Look from `cluster`'s namespace, or the run file's; `only_look` leaves out what a person's rights decide."""
        self.cluster, self.run, self.only_look = cluster, run, only_look
        self.namespace = (run.cluster.namespace if run else None) or cluster.namespace
        self.jobs: list[Kind] = []
        self.store: StorageSection | None = None
        self.default_queue: str | None = None
        """Store and queue of runs that name none, once the namespace's defaults were looked at."""

    def findings(self) -> Iterator[Finding]:
        """Yield what every check finds. Only a cluster that cannot be reached at all ends it early."""
        checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
            ("API server", self.api), ("kinds", self.kinds), ("defaults", self.defaults), ("operators", self.operators),
            ("dry run of a job", self.dry_run), ("rights", self.rights), ("useful rights", self.useful_rights),
            ("PodSecurity", self.pod_security), ("run file", self.of_the_run), ("queue", self.queue),
            ("machines", self.machines), ("priority class", self.priority_class), ("accounts", self.accounts),
            ("TrainJob runtime", self.runtime), ("TrmRun", self.controller), ("Prometheus", self.prometheus),
            ("Argo", self.argo),
        ]  # fmt: skip
        for name, check in checks:
            try:
                for finding in check():
                    yield Finding(name, finding.state, finding.message, finding.next)
            except ClusterForbiddenError as error:
                yield Finding(name, "unknown", error.message, "ask for the right to look, or somebody who has it")
            except ClusterUnreachableError as error:
                yield Finding(name, "failed", error.message, error.next)
                if name == "API server":
                    return
            except ClusterError as error:
                yield Finding(name, "failed", error.message, error.next)

    def api(self) -> Iterator[Finding]:
        """Reach the API server; compare clocks."""
        version, ahead = self.cluster.server()
        yield ok(f"{self.cluster.where} answers, {version}, namespace {self.namespace}")
        words = f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        if abs(ahead) > CLOCK_FAILURE:
            yield Finding("", "failed", words, "set this machine's clock: S3 refuses requests that are so far off")
        elif abs(ahead) > CLOCK_WARNING:
            yield Finding("", "warning", words, "set this machine's clock; ages will look wrong")

    def kinds(self) -> Iterator[Finding]:
        """See which kinds of job the API server knows."""
        self.jobs = [kind for kind in (PYTORCHJOB, TRAINJOB) if self.cluster.serves(kind)]
        for kind in self.jobs:
            yield ok(f"{kind.kind} {kind.api_version} is served")
        if not self.jobs:
            yield Finding(
                "", "failed", "neither PyTorchJob nor TrainJob is served",
                "install the Kubeflow Training Operator 1.9 or Trainer 2: docs/cluster.md has the commands",
            )  # fmt: skip
        if TRAINJOB in self.jobs and not self.cluster.serves(JOBSET):
            yield Finding("", "failed", "TrainJob is served and JobSet, of which it is made, is not", "install JobSet")

    def defaults(self) -> Iterator[Finding]:
        """Take what the namespace says for runs that do not, as `submit` does, for all checks that follow."""
        from trmctl.defaults import defaults, place, with_defaults

        try:
            parts = defaults(self.cluster, self.namespace)
            keys = sorted(f"{name}.{key}" for name, part in parts.items() for key in part.model_fields_set)
            if self.run is not None:
                self.run = with_defaults(self.cluster, self.run, lambda _: None)
        except SpecError as error:
            yield Finding("", "failed", error.message, error.next)
            return
        stored, asked = parts.get("storage"), parts.get("cluster")
        self.store = stored if isinstance(stored, StorageSection) else None
        self.default_queue = asked.queue if isinstance(asked, ClusterSection) else None
        yield ok(f"{place(self.namespace)}: {', '.join(keys)}") if keys else Finding("", "not needed", "there are none")

    def operators(self) -> Iterator[Finding]:
        """See whether the controllers behind the kinds have a pod that is ready."""
        wanted = {"training-operator": PYTORCHJOB, "trainer-controller": TRAINJOB, "workflow-controller": WORKFLOW}
        found = self.cluster.list(DEPLOYMENT, "*")
        for part, kind in wanted.items():
            if not self.cluster.serves(kind):
                continue
            those = [one for one in found if part in one["metadata"]["name"]]
            ready = [one for one in those if (one.get("status") or {}).get("readyReplicas")]
            if ready:
                yield ok(f"{ready[0]['metadata']['namespace']}/{ready[0]['metadata']['name']} is ready")
            elif those:
                yield Finding("", "failed", f"{those[0]['metadata']['name']} has no ready pod", "ask who runs it")
            else:
                yield Finding("", "warning", f"no deployment is called *{part}*, yet {kind.kind} is served")

    def dry_run(self) -> Iterator[Finding]:
        """Have the smallest job of each kind looked at: that proves API, definition, webhook and right at once."""
        if self.only_look:
            yield Finding("", "not needed", OF_A_PERSON)
        for kind in () if self.only_look else self.jobs:
            try:
                self.cluster.create(kind, smallest(kind, self.namespace), dry_run=True)
            except ClusterRefusedError as error:  # a TrainJob is, when its runtime is not there
                state: State = "warning" if kind == TRAINJOB and PYTORCHJOB in self.jobs else "failed"
                yield Finding("", state, error.message, error.next)
            else:
                yield ok(f"a {kind.kind} would be taken")

    def rights(self) -> Iterator[Finding]:
        """Ask for every right that the commands need."""
        if self.only_look:
            yield Finding("", "not needed", OF_A_PERSON)
            return
        jobs = tuple((("create", "get", "list", "patch", "delete"), kind, "") for kind in self.jobs)
        missing = [
            f"{verb} {kind.plural}{f'/{part}' if part else ''}"
            for verbs, kind, part in (*jobs, *NEEDED)
            for verb in verbs
            if not self.cluster.allowed(verb, kind, self.namespace, subresource=part)
        ]
        if missing:
            yield Finding("", "failed", f"this user may not: {', '.join(missing)}", "ask for them in this namespace")
        else:
            yield ok(f"this user may do all that is needed in {self.namespace}")

    def useful_rights(self) -> Iterator[Finding]:
        """Ask for the rights that commands can do without."""
        if self.only_look:
            yield Finding("", "not needed", OF_A_PERSON)
            return
        for verb, kind, part, use in USEFUL:
            name = f"{verb} {kind.plural}{f'/{part}' if part else ''}"
            if self.cluster.allowed(verb, kind, self.namespace, subresource=part):
                yield ok(f"may {name}")
            else:
                yield Finding("", "warning", f"may not {name}: {use}")

    def pod_security(self) -> Iterator[Finding]:
        """Say which PodSecurity level the namespace enforces; what is rendered passes the strictest one."""
        namespace = self.cluster.get(NAMESPACE, self.namespace)
        if namespace is None:
            yield Finding("", "failed", f"there is no namespace {self.namespace}", "kubectl create namespace, or -n")
            return
        level = (namespace["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "privileged")
        yield ok(f"{self.namespace} enforces {level!r}; rendered pods pass 'restricted'")

    def of_the_run(self) -> Iterator[Finding]:
        """Do what `submit` does before it sends a run: dry runs, secrets, claims, quota."""
        if self.run is None:
            yield Finding(
                "", "not needed", "no run file was given; -c run.yaml looks at secrets, volumes and quota too"
            )
            return
        from trmctl.preflight import preflight
        from trmkit.render.objects import render

        backend = "trainjob" if self.run.cluster.backend == "trainjob" or PYTORCHJOB not in self.jobs else "pytorchjob"
        objects = render(self.run, backend, namespace=self.namespace)  # type: ignore[arg-type]
        wrong, unknown = preflight(self.cluster, self.run, objects, self.namespace)
        yield from (Finding("", "failed", line, "correct the run file, or make what is missing") for line in wrong)
        yield from (Finding("", "unknown", line) for line in unknown)
        if not wrong:
            yield ok(f"{objects[1]['kind']} {objects[1]['metadata']['name']} and its pods would be taken")

    def queue(self) -> Iterator[Finding]:
        """See whether Kueue looks at the kind of job at all: a queue label that nobody reads is ignored silently."""
        name = self.run.cluster.queue if self.run else self.default_queue
        if not self.cluster.serves(LOCAL_QUEUE):
            state: State = "failed" if name else "not needed"
            yield Finding("", state, "Kueue is not installed", "leave cluster.queue out" if name else "")
            return
        queues = [one["metadata"]["name"] for one in self.cluster.list(LOCAL_QUEUE, self.namespace)]
        if name and name not in queues:
            yield Finding(
                "", "failed", f"there is no LocalQueue {name!r} here", f"queues: {', '.join(queues) or 'none'}"
            )
        else:
            yield ok(f"queues in {self.namespace}: {', '.join(queues) or 'none'}")
        config = self.cluster.get(CONFIG_MAP, KUEUE_CONFIG[1], KUEUE_CONFIG[0])
        if config is None:
            yield Finding("", "unknown", f"Kueue's configuration is not at {'/'.join(KUEUE_CONFIG)}")
        text = "\n".join((config or {}).get("data", {}).values())
        for kind, framework in ((PYTORCHJOB, "kubeflow.org/pytorchjob"), (TRAINJOB, "trainer.kubeflow.org/trainjob")):
            if kind in self.jobs and config is not None and not enabled(text, framework):
                yield Finding(
                    "", "failed" if name else "warning", f"Kueue ignores every {kind.kind}: {framework} is not enabled",
                    "enable it in integrations.frameworks of Kueue's configuration; until then a queue is ignored",
                )  # fmt: skip

    def machines(self) -> Iterator[Finding]:
        """Count the machines that can take a pod of the run."""
        nodes = [node for node in self.cluster.list(NODE) if usable(node)]
        resource = self.run.cluster.gpu_resource if self.run else "nvidia.com/gpu"
        gpus = [int((node.get("status") or {}).get("allocatable", {}).get(resource, "0")) for node in nodes]
        yield ok(
            f"{len(nodes)} machines are ready, {sum(count > 0 for count in gpus)} with {resource}, {sum(gpus)} in all"
        )
        if self.run is not None and self.run.cluster.gpus_per_node:
            wanted = self.run.cluster
            enough = sum(count >= wanted.gpus_per_node for count in gpus)
            if enough < wanted.nodes:
                yield Finding(
                    "", "failed", f"{enough} of {wanted.nodes} machines have {wanted.gpus_per_node} {resource}",
                    "ask for fewer, unless the cluster grows on demand",
                )  # fmt: skip

    def priority_class(self) -> Iterator[Finding]:
        """See whether the run's PriorityClass is there."""
        name = self.run.cluster.priority_class if self.run else None
        if name is None:
            yield Finding("", "not needed", "the run names none")
        elif self.cluster.get(PRIORITY_CLASS, name) is None:
            yield Finding("", "failed", f"there is no PriorityClass {name!r}", "kubectl get priorityclass")
        else:
            yield ok(f"{name} is there")

    def accounts(self) -> Iterator[Finding]:
        """See whether the service accounts are there."""
        wanted = {self.run.cluster.service_account} if self.run and self.run.cluster.service_account else {TRAINER}
        for name in sorted(wanted):
            if self.cluster.get(SERVICE_ACCOUNT, name, self.namespace) is not None:
                yield ok(f"service account {name} is there")
            else:
                needed = self.run is not None and self.run.cluster.service_account == name
                yield Finding(
                    "", "failed" if needed else "warning", f"there is no service account {name}",
                    "install the chart (docs/install.md), or trmctl render --base | kubectl apply -f -",
                )  # fmt: skip

    def runtime(self) -> Iterator[Finding]:
        """See whether the runtime of TrainJobs is there."""
        name = self.run.cluster.runtime if self.run else "trm"
        if TRAINJOB not in self.jobs:
            yield Finding("", "not needed", "TrainJob is not served")
        elif self.cluster.get(RUNTIME, name) is None:
            needed = PYTORCHJOB not in self.jobs or (self.run is not None and self.run.cluster.backend == "trainjob")
            yield Finding(
                "", "failed" if needed else "warning", f"there is no ClusterTrainingRuntime {name}",
                "trainJob.enabled=true of the chart, or trmctl render --runtime | kubectl apply -f -",
            )  # fmt: skip
        else:
            yield ok(f"ClusterTrainingRuntime {name} is there")

    def controller(self) -> Iterator[Finding]:
        """See whether runs can be handed in as TrmRuns, and somebody looks after them."""
        from trmctl.doctor.controller import controller_findings

        yield from controller_findings(self.cluster, self.namespace, only_look=self.only_look)

    def prometheus(self) -> Iterator[Finding]:
        """See whether a Prometheus takes our PodMonitors; one that none selects is silent."""
        if not self.cluster.serves(POD_MONITOR):
            yield Finding("", "not needed", "the Prometheus Operator is not installed; `trmctl watch` works without")
            return
        monitors = self.cluster.list(POD_MONITOR, self.namespace)
        servers = self.cluster.list(PROMETHEUS, "*")
        if not monitors:
            yield Finding(
                "",
                "warning",
                f"there is no PodMonitor in {self.namespace}: nothing is scraped",
                "monitoring.enabled=true of the chart",
            )
        for monitor in monitors:
            labels = monitor["metadata"].get("labels") or {}
            takers = [one for one in servers if selects((one.get("spec") or {}).get("podMonitorSelector"), labels)]
            name = monitor["metadata"]["name"]
            if takers:
                yield ok(f"PodMonitor {name} is taken by {takers[0]['metadata']['name']}")
            else:
                yield Finding(
                    "", "warning", f"no Prometheus selects PodMonitor {name}",
                    "give it the labels of spec.podMonitorSelector, often release: <name of the release>;"
                    " monitoring.podMonitor.labels of the chart",
                )  # fmt: skip

    def argo(self) -> Iterator[Finding]:
        """See whether pipelines can run."""
        if not self.cluster.serves(WORKFLOW):
            yield Finding("", "not needed", "Argo Workflows is not installed; only --pipeline and sweep need it")
            return
        yield ok(f"Workflow {WORKFLOW.api_version} is served")
        for account in (STEP, WORKFLOW_ACCOUNT):
            if self.cluster.get(SERVICE_ACCOUNT, account, self.namespace) is None:
                yield Finding(
                    "", "warning", f"there is no service account {account}, under which pipelines run",
                    "install the chart (docs/install.md), or trmctl render --base | kubectl apply -f -",
                )  # fmt: skip
        if not self.only_look and not self.cluster.allowed("create", WORKFLOW, self.namespace):
            yield Finding("", "warning", "this user may not create workflows")
        if self.cluster.get(WORKFLOW_TEMPLATE, "trm-pipeline", self.namespace) is None:
            yield Finding(
                "",
                "warning",
                "there is no WorkflowTemplate trm-pipeline",
                "pipelines.enabled=true of the chart, or trmctl render --templates | kubectl apply -f -",
            )
