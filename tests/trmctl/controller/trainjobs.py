"""The same world with Kubeflow Trainer v2 instead of the Training Operator, as it was observed.

A TrainJob that runs has no condition, only counts; its pods belong to the Job of a JobSet, have other names each time,
and all are made again when one ends with a code that may pass.
"""

from tests.trmctl.controller.world import World
from tests.trmctl.fake_cluster import stamp
from trmctl.cluster import TRAINJOB, Object

TERMINAL = {
    "Succeeded": ("Complete", "AllJobsCompleted", "jobset completed successfully"),
    "Failed": ("Failed", "FailJobSetFailurePolicyAction", "jobset failed due to FailJobSet failure policy action"),
}
COUNTS = {"Running": "ready", "Restarting": "failed", "Created": "active"}


class TrainWorld(World):
    """A cluster that runs TrainJobs alone."""

    kind = TRAINJOB
    container = "node"

    def is_suspended(self, job: Object) -> bool:
        return bool(job["spec"].get("suspend"))

    def nodes(self, job: Object) -> int:
        return int(job["spec"]["trainer"]["numNodes"])

    def owner(self, job: Object) -> Object:
        about = job["metadata"]
        return {"kind": "Job", "name": f"{about['name']}-node-0", "uid": f"{about['uid']}-node-0"}

    def labelled(self, job: Object, rank: int) -> Object:
        name = job["metadata"]["name"]
        (patch,) = job["spec"]["runtimePatches"]
        (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        own = {"jobset.sigs.k8s.io/jobset-name": name, "batch.kubernetes.io/job-completion-index": str(rank)}
        labels = {**node["template"]["spec"]["template"]["metadata"]["labels"], **own}
        return {"name": f"{name}-node-0-{rank}-x{self._uid}", "labels": labels}

    def _say(self, job: Object, kind: str) -> None:
        status = dict(job.get("status") or {})
        known = {one["type"]: one for one in status.get("conditions", ())}
        suspended = self.is_suspended(job)
        if kind in TERMINAL:
            self._hold(known, *TERMINAL[kind])
        elif suspended:
            self._hold(known, "Suspended", "Suspended", "TrainJob is suspended")
        elif "Suspended" in known:
            self._hold(known, "Suspended", "Resumed", "TrainJob is resumed", holds=False)
        counts = dict.fromkeys(("active", "ready", "failed", "succeeded", "suspended"), 0)
        counts |= {COUNTS[kind]: 1} if kind in COUNTS and not suspended else {}
        new = {"conditions": [*known.values()], "jobsStatus": [{"name": "node", **counts}]}
        if new != status:
            self.cluster.edit(TRAINJOB, job["metadata"]["name"], status=new)

    def _hold(self, known: dict[str, Object], kind: str, reason: str, message: str, *, holds: bool = True) -> None:
        before = known.get(kind, {})
        if before.get("status") != str(holds):
            now = stamp(self.cluster.now)
            known[kind] = {
                "type": kind, "status": str(holds), "reason": reason, "message": message, "lastTransitionTime": now,
            }  # fmt: skip
