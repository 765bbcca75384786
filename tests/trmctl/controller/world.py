"""A cluster in which runs train: operators and pods that do, step by step, what real ones were seen to do.

A step is ten seconds. Nothing is random: tests say what happens to whom. What fails is in `plan`: by how many starts
it will have had, how a job's next start ends.
"""

from collections.abc import Sequence
from typing import Any

from tests.trmctl.fake_cluster import FakeCluster, stamp
from trmctl import pods as p
from trmctl.cluster import CONFIG_MAP, EVENT, POD, PYTORCHJOB, TRMRUN, WORKFLOW, Object
from trmctl.controller.loop import Controller
from trmctl.controller.metrics import Metrics
from trmctl.controller.seen import Progress, Wanted
from trmkit.render import names
from trmkit.spec.trmrun_status import TrmRunStatus

TICK = 10.0
RUN: dict[str, Any] = {
    "name": "demo",
    "model": {"family": "trm", "hidden_size": 64, "num_heads": 4},
    "data": {"source": "sudoku-generated", "side": 4},
    "train": {"steps": 100, "batch_size": 8},
    "evaluate": {"every_steps": 10},
    "storage": {"remote": "s3://bucket/runs"},
    "cluster": {"nodes": 2, "restarts": 2},
}


class World:
    """The cluster, its operators, its stores, its time; and a controller when one is wanted."""

    kind = PYTORCHJOB
    """The kind of job that its operator knows."""
    container = "pytorch"

    def __init__(self) -> None:
        self.cluster = FakeCluster("team", self.kind, WORKFLOW, TRMRUN)
        self.cluster.lingering = True
        self.plan: list[tuple[int, str] | str] = []
        """How the next starts end: (exit code, reason) of the first rank, `StartError`, `hang` or `fine`."""
        self.unschedulable: set[int] = set()
        """Ranks that find no machine."""
        self.steps: dict[str, int] = {}
        """Run -> updates made."""
        self.saved: dict[str, int] = {}
        """Run -> update of the newest checkpoint."""
        self.value: dict[str, float] = {}
        """Run -> best score."""
        self.best: dict[str, int] = {}
        self.states: dict[str, str] = {}
        """Run -> what its store has as its state."""
        self.readable = True
        self.answers = True
        """Whether pods answer when they are asked for their metrics."""
        self.evaluates = False
        """Whether they evaluate, and make no step meanwhile."""
        self.starts: list[tuple[str, int]] = []
        """Every start: job, update it went on from."""
        self.live_at_once = 0
        """Most jobs of one run that had pods at the same time."""
        self.lost: list[str] = []
        """Runs that began at an earlier update than a checkpoint that was there."""
        self._stepped: dict[str, float] = {}
        self._uid = 0
        self.lines: list[dict[str, Any]] = []

    # -- what people do

    def apply(self, name: str = "one", **spec: Any) -> Object:
        """Have a TrmRun be there, as `kubectl apply` would."""
        run = {**RUN, **spec.pop("run", {})}
        old = self.cluster._objects.get((TRMRUN, "team", name))
        body = {**(old or {}), "metadata": (old or {}).get("metadata") or {"name": name}, "spec": {"run": run, **spec}}
        return self.cluster.put(TRMRUN, body)

    def change(self, name: str = "one", **spec: Any) -> None:
        """Change keys of a TrmRun's spec."""
        body = self.cluster.see(TRMRUN, name)
        self.cluster.put(TRMRUN, {**body, "spec": {**body["spec"], **spec}})

    def status(self, name: str = "one") -> dict[str, Any]:
        """Return the status of a TrmRun, which is always one that its definition allows."""
        found = dict(self.cluster.see(TRMRUN, name).get("status") or {})
        TrmRunStatus.model_validate(found)
        return found

    def condition(self, kind: str, name: str = "one") -> tuple[str, str]:
        found = [one for one in self.status(name).get("conditions", ()) if one["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def controller(self, cluster: Any = None) -> Controller:
        """Return a controller that has just been started."""
        return Controller(cluster or self.cluster, "team", self, Metrics(), lambda: self.cluster.now, self._log)  # type: ignore[arg-type]

    def _log(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})

    def until(self, phase: str, controller: Controller, ticks: int = 400, name: str = "one") -> None:
        """Let time pass until a run is so."""
        for _ in range(ticks):
            controller.resync()
            if self.status(name).get("phase") == phase:
                return
            self.tick()
        raise AssertionError(f"not {phase} but {self.status(name)}")

    def after(self, controller: Controller, ticks: int) -> None:
        """Let time pass."""
        for _ in range(ticks):
            controller.resync()
            self.tick()

    # -- the stores

    def progress(self, wanted: Wanted | None, pods: Sequence[Object]) -> Progress:
        """Return how far a run is, as `trmctl.controller.stores.Stores` would."""
        if wanted is None:
            return Progress()
        running = [pod for pod in pods if pod["status"]["phase"] == "Running"]
        key, total = wanted.run_id, wanted.spec.run.train.steps or 0
        step = self.steps.get(key, 0)
        if not self.readable:
            return Progress(problem="no answer", step=step if running else 0, total=total if running else 0)
        saved = self.saved.get(key)
        return Progress(
            True, "", self.states.get(key, "training"), step, total,
            "exact_accuracy", self.value.get(key), self.best.get(key), saved,
            f"{wanted.store}/checkpoints/step_{saved}" if saved is not None else "",
            self._stepped.get(key), self._stepped.get(key) if running and self.answers else None,
            training=bool(running) and not self.evaluates, scored=step,
        )  # fmt: skip

    def forget(self, keep: Sequence[str]) -> None:
        """Nothing is remembered here."""

    # -- the operators

    def tick(self, times: int = 1) -> None:
        """Let ten seconds pass, so many times."""
        for _ in range(times):
            self.cluster.now += TICK
            self._leave()
            for name in self.cluster.names(self.kind):
                self._operate(name)
            self._count()

    def pods(self, job: str) -> list[Object]:
        found = [self.cluster.see(POD, name) for name in self.cluster.names(POD)]
        return [pod for pod in found if pod["metadata"]["labels"].get(names.JOB) == job]

    def end(self, job: str, exit: int, reason: str = "", rank: int = 0) -> None:
        """Have a pod of a job end."""
        pod = next(one for one in self.pods(job) if p.rank(one) == rank)
        self._end(pod, exit, reason)

    def fail(self, job: str) -> None:
        """Have a job fail; its operator removes the pods that run."""
        self._say(self.cluster.see(self.kind, job), "Failed")
        for pod in self.pods(job):
            if pod["status"]["phase"] == "Running":
                self._tell(pod)

    def _end(self, pod: Object, exit: int, reason: str) -> None:
        began = (
            pod["status"]["containerStatuses"][0]["state"].get("running", {}).get("startedAt", stamp(self.cluster.now))
        )
        state = {"exitCode": exit, "reason": reason, "startedAt": began, "finishedAt": stamp(self.cluster.now)}
        pod["status"] = {
            "phase": "Failed" if exit else "Succeeded",
            "containerStatuses": [{"name": self.container, "state": {"terminated": state}}],
        }
        self.cluster.put(POD, pod)

    def _leave(self) -> None:
        """Pods that were told to leave save, and are gone; so are those whose job is."""
        for name in self.cluster.names(CONFIG_MAP):
            if self.cluster.see(CONFIG_MAP, name)["metadata"].get("deletionTimestamp"):
                self.cluster.remove(CONFIG_MAP, name)
        jobs = {self.owner(self.cluster.see(self.kind, name))["uid"] for name in self.cluster.names(self.kind)}
        for name in self.cluster.names(POD):
            pod = self.cluster.see(POD, name)
            owner = pod["metadata"]["ownerReferences"][0]["uid"]
            if pod["metadata"].get("deletionTimestamp"):
                run = pod["metadata"]["labels"][names.ID]
                if pod["status"]["phase"] == "Running":
                    self.saved[run] = max(self.saved.get(run, 0), self.steps.get(run, 0))
                self.cluster.remove(POD, name)
            elif owner not in jobs:
                pod["metadata"]["deletionTimestamp"] = stamp(self.cluster.now)
                self.cluster.put(POD, pod)

    def _operate(self, name: str) -> None:
        """Do what the Training Operator does with one job."""
        job = self.cluster.see(self.kind, name)
        true = [one["type"] for one in (job.get("status") or {}).get("conditions", ()) if one["status"] == "True"]
        if {"Succeeded", "Complete", "Failed"} & set(true):
            return
        pods = self.pods(name)
        if self.is_suspended(job):
            for pod in pods:
                self._tell(pod)
            self._say(job, "Suspended")
            return
        wanted = self.nodes(job)
        codes = [self._code(pod) for pod in pods]
        if any(code is not None and 0 < code < 128 for code in codes):
            self.fail(name)
            return
        if len(codes) == wanted and all(code == 0 for code in codes):
            self._say(job, "Succeeded")
            return
        again = [pod for pod, code in zip(pods, codes, strict=True) if code]
        if again:
            self._say(job, "Restarting")
            for pod in pods:
                self.cluster.remove(POD, pod["metadata"]["name"])
            return
        if any(pod["metadata"].get("deletionTimestamp") for pod in pods):
            return
        self._start(job, pods, wanted)

    def _start(self, job: Object, pods: list[Object], wanted: int) -> None:
        name, run = job["metadata"]["name"], job["metadata"]["labels"][names.ID]
        for rank in range(wanted):
            if not any(p.rank(pod) == rank for pod in pods):
                self._make(job, rank)
        pods = self.pods(name)
        for pod in pods:
            rank = p.rank(pod)
            if pod["status"]["phase"] == "Pending" and rank not in self.unschedulable and "seen" in pod["status"]:
                state = {"running": {"startedAt": stamp(self.cluster.now)}}
                pod["status"] = {"phase": "Running", "containerStatuses": [{"name": self.container, "state": state}]}
                self.cluster.put(POD, pod)
            elif pod["status"]["phase"] == "Pending":
                lacks = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
                pod["status"] = {"phase": "Pending", "seen": True, "conditions": [lacks] * (rank in self.unschedulable)}
                self.cluster.put(POD, pod)
        if any(pod["status"]["phase"] == "Running" for pod in pods):
            self._say(job, "Running")
        else:
            self._say(job, "Created")
        if all(pod["status"]["phase"] == "Running" for pod in self.pods(name)):
            self._train(job, run)

    def _train(self, job: Object, run: str) -> None:
        """Make ten updates, save, and end as planned."""
        name, first = job["metadata"]["name"], self.pods(job["metadata"]["name"])[0]
        key = f"{name} {first['metadata']['uid']}"
        if key not in self._stepped:  # it has just come up
            self._stepped[key] = self.cluster.now
            if not self.final(job):
                at = self.saved.get(run, 0)
                self.starts.append((name, at))
                self.steps[run] = at
            ending = self.plan.pop(0) if self.plan else "fine"
            if ending == "hang":
                self._stepped[f"hang {first['metadata']['uid']}"] = 1.0
            elif ending == "StartError":
                self._end(first, 128, "StartError")
                return
            elif isinstance(ending, tuple):
                self._end(first, *ending)
                return
        if f"hang {first['metadata']['uid']}" in self._stepped or self.evaluates:
            return
        if self.final(job):
            for pod in self.pods(name):
                self._end(pod, 0, "Completed")
            return
        self.steps[run] = min(100, self.steps.get(run, 0) + 10)
        self._stepped[run] = self.cluster.now
        if self.steps[run] % 20 == 0:
            self.saved[run] = max(self.saved.get(run, 0), self.steps[run])
        if self.steps[run] >= 100:
            for pod in self.pods(name):
                self._end(pod, 0, "Completed")

    @staticmethod
    def final(job: Object) -> bool:
        return job["metadata"].get("annotations", {}).get(names.STAGES) == "evaluate,report"

    def _make(self, job: Object, rank: int) -> None:
        self._uid += 1
        pod = {
            "metadata": {**self.labelled(job, rank), "uid": f"pod-{self._uid}", "ownerReferences": [self.owner(job)]},
            "spec": {"containers": [{"name": self.container, "image": "trm:1"}]},
            "status": {"phase": "Pending"},
        }
        self.cluster.put(POD, pod)

    # -- where operators differ

    def is_suspended(self, job: Object) -> bool:
        return bool(job["spec"]["runPolicy"].get("suspend"))

    def nodes(self, job: Object) -> int:
        return int(job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"])

    def owner(self, job: Object) -> Object:
        return {"kind": "PyTorchJob", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}

    def labelled(self, job: Object, rank: int) -> Object:
        about = job["metadata"]
        own = {"training.kubeflow.org/job-name": about["name"], "training.kubeflow.org/replica-index": str(rank)}
        return {"name": f"{about['name']}-worker-{rank}", "labels": {**about["labels"], **own}}

    def _say(self, job: Object, kind: str) -> None:
        known = {one["type"]: one for one in (job.get("status") or {}).get("conditions", ())}
        if known.get(kind, {}).get("status") == "True":
            return
        alone = {"Running", "Restarting", "Suspended", "Succeeded", "Failed"}
        for other in known.values():
            if other["type"] in alone:
                other["status"] = "False"
        at = stamp(self.cluster.now)
        known[kind] = {
            "type": kind,
            "status": "True",
            "reason": f"PyTorchJob{kind}",
            "message": "",
            "lastTransitionTime": at,
        }
        self.cluster.edit(self.kind, job["metadata"]["name"], status={"conditions": [*known.values()]})

    def _tell(self, pod: Object) -> None:
        if not pod["metadata"].get("deletionTimestamp"):
            pod["metadata"]["deletionTimestamp"] = stamp(self.cluster.now)
            self.cluster.put(POD, pod)

    @staticmethod
    def _code(pod: Object) -> int | None:
        found = (pod["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("terminated")
        return found["exitCode"] if found else None

    def _count(self) -> None:
        """Look whether a run has two jobs with pods at once, or went back behind a checkpoint."""
        jobs: dict[str, set[str]] = {}
        for name in self.cluster.names(POD):
            pod = self.cluster.see(POD, name)
            if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp"):
                about = pod["metadata"]
                jobs.setdefault(about["labels"].get(names.TRMRUN, about["labels"][names.ID]), set()).add(
                    about["ownerReferences"][0]["uid"]
                )
        self.live_at_once = max([self.live_at_once, *(len(each) for each in jobs.values())])

    def events(self) -> list[str]:
        return [self.cluster.see(EVENT, name)["reason"] for name in self.cluster.names(EVENT)]
