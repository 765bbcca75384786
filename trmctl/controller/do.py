"""Does what was decided. Everything may be done twice, and is done to nothing but what was seen."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from trmctl import acting
from trmctl import pods as p
from trmctl.cluster import CONFIG_MAP, EVENT, TRMRUN, WORKFLOW, Cluster, Object
from trmctl.controller.actions import Action, Adopt, Delete, Make, Pause, Resume, Say, SetStatus
from trmctl.controller.look import KINDS
from trmctl.controller.seen import Wanted
from trmctl.controller.turn import MOST_TEXT, NOT_MADE, stamp
from trmctl.controller.wanted import submission
from trmctl.jobs import Job
from trmctl.merge_patch import difference
from trmctl.submission import Submission, claim_config, own_config, reference
from trmkit.errors import ClusterConflictError, ClusterMissingError, ClusterRefusedError, SpecError
from trmkit.render import names
from trmkit.render.names import RUN_FILE_KEY
from trmkit.spec.load import loads
from trmkit.spec.trmrun import read

COMPONENT = "trm-controller"


class Doer:
    """Does actions for one TrmRun, as it was read."""

    def __init__(self, cluster: Cluster, body: Object, wanted: Wanted | None, now: float) -> None:
        self._cluster = cluster
        self._body = body
        self._wanted = wanted
        self._now = now
        self._space = str(p.about(body).get("namespace", ""))

    def do(self, actions: Sequence[Action]) -> None:
        """Do them in their order. ClusterConflictError: something has changed since it was read; look again.

        A status is only written over the one that was read. What comes before it, or without one, is only done after
        a look whether that is still so.
        """
        if actions and not isinstance(actions[0], SetStatus):
            now = self._cluster.get(TRMRUN, p.name(self._body), self._space)
            if now is None or p.about(now).get("resourceVersion") != p.about(self._body).get("resourceVersion"):
                raise ClusterConflictError(f"TrmRun {p.name(self._body)} has changed since it was read")
        for action in actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        if isinstance(action, SetStatus):
            self._write(action)
        elif isinstance(action, Make):
            self._make(action)
        elif isinstance(action, Adopt):
            self._adopt(action)
        elif isinstance(action, Pause | Resume):
            self._pause(action)
        elif isinstance(action, Delete):
            self._cluster.delete(KINDS[action.kind], action.name, self._space, uid=action.uid)
        else:
            self._say(action)

    def not_made(self, why: str) -> None:
        """Say in the status, and with an event, that the job is refused."""
        status = self._body.get("status") or {}
        message = why[:MOST_TEXT]
        if (status.get("reason"), status.get("message")) != (NOT_MADE, message):
            self._write(SetStatus({**status, "phase": "Pending", "reason": NOT_MADE, "message": message}))
            self._say(Say(True, NOT_MADE, message, message))

    def _write(self, action: SetStatus) -> None:
        changes = {
            "metadata": {"resourceVersion": p.about(self._body)["resourceVersion"]},
            "status": difference(self._body.get("status") or {}, action.status),
        }
        name = p.name(self._body)
        try:
            self._body = self._cluster.patch(TRMRUN, name, changes, self._space, subresource="status")
        except ClusterMissingError:
            raise ClusterConflictError(f"TrmRun {name} is gone") from None

    def _make(self, action: Make) -> None:
        """Make what is missing of a job: its ConfigMap, itself, the job beside it."""
        assert self._wanted is not None
        whole = submission(self._wanted, self._body, final=action.final)
        job = self._have(whole, only_own=action.belongings)
        if whole.beside is None:
            return
        owned = {**whole.beside.body["metadata"], "ownerReferences": [reference(job)]}
        second = self._cluster.get(whole.beside.kind, whole.beside.name, self._space)
        if second is not None and job.uid not in [one.get("uid") for one in p.about(second).get("ownerReferences", ())]:
            self._cluster.delete(whole.beside.kind, whole.beside.name, self._space, uid=p.uid(second))
            return  # it was that of an earlier job; it is made when it is gone
        body = {**whole.beside.body, "metadata": owned}
        self._have(Submission(whole.beside.run, whole.beside.config, body, self._space))

    def _have(self, wanted: Submission, *, only_own: bool = False) -> Job:
        """Have a job be there, or `only_own` what belongs to it.

        A job is created and never applied over: its operator would not see the change. ClusterConflictError: it is not
        there any more. ClusterRefusedError: it is somebody else's.
        """
        found = self._cluster.get(wanted.kind, wanted.name, self._space)
        if found is None and only_own:
            raise ClusterConflictError(f"{wanted.kind.kind} {wanted.name} is gone")
        if found is None:
            claim_config(self._cluster, wanted)
            found = self._cluster.create(wanted.kind, wanted.body)
        elif (p.about(found).get("labels") or {}).get(names.TRMRUN) != p.name(self._body):
            raise ClusterRefusedError(f"{wanted.kind.kind} {wanted.name} is there already, and somebody else's")
        job = Job(wanted.kind, found)
        if not p.is_leaving(found):
            own_config(self._cluster, wanted, job)
        return job

    def _adopt(self, action: Adopt) -> None:
        """Name the TrmRun on a job. One that was rendered with other settings is marked so, and is then replaced."""
        assert self._wanted is not None
        kind = KINDS[action.kind]
        found = self._cluster.get(kind, action.name, self._space)
        if found is None:
            return
        other = (p.about(found).get("labels") or {}).get(names.TRMRUN, "")
        if other not in ("", p.name(self._body)) and self._cluster.get(TRMRUN, other, self._space) is not None:
            raise ClusterConflictError(f"{action.kind} {action.name} is for TrmRun {other}, which is there")
        notes = p.about(found).get("annotations") or {}
        same = notes.get(names.WANTED) == self._wanted.hash or self._asks_the_same(action.name)
        mark: Object = {
            "labels": {names.TRMRUN: p.name(self._body)},
            "annotations": {
                names.TRMRUN_UID: p.uid(self._body), names.WANTED: self._wanted.hash if same else "of-another",
            },
        }  # fmt: skip
        with suppress(ClusterMissingError):
            self._cluster.patch(CONFIG_MAP, action.name, {"metadata": mark}, self._space)
        forever: dict[str, Object] = {"PyTorchJob": {"runPolicy": {"ttlSecondsAfterFinished": None}}}
        spec = forever.get(action.kind, {"ttlStrategy": None} if kind == WORKFLOW else {})
        change = {"metadata": {"uid": action.uid, **mark}, **({"spec": spec} if spec else {})}
        with suppress(ClusterMissingError):
            self._cluster.patch(kind, action.name, change, self._space)

    def _asks_the_same(self, job: str) -> bool:
        """Say whether a job was made from a run file that says all that this TrmRun's says.

        Not whether it would be rendered the same: another version, or other defaults of the namespace, are no reason
        to stop what trains.
        """
        config = self._cluster.get(CONFIG_MAP, job, self._space)
        try:
            made_from = loads(((config or {}).get("data") or {})[RUN_FILE_KEY], job).model_dump(mode="json")
        except (SpecError, KeyError):
            return False
        return says(made_from, read(self._body).run.model_dump(mode="json", exclude_unset=True))

    def _pause(self, action: Pause | Resume) -> None:
        kind = KINDS[action.kind]
        body = self._cluster.get(kind, action.name, self._space)
        if body is None or p.uid(body) != action.uid:
            return
        with suppress(ClusterRefusedError, ClusterMissingError):  # it is over, or gone
            if isinstance(action, Resume):
                acting.resume(self._cluster, Job(kind, body))
            elif action.for_good and kind == WORKFLOW:
                self._cluster.patch(kind, action.name, {"spec": {"shutdown": "Stop", "suspend": None}}, self._space)
            else:
                acting.pause(self._cluster, Job(kind, body), stamp(self._now))

    def _say(self, action: Say) -> None:
        """Put an event on the TrmRun; the same one again is counted."""
        about = p.about(self._body)
        mark = "\n".join((about["uid"], action.reason, action.mark))
        name = f"{about['name'][:200]}.{hashlib.sha256(mark.encode()).hexdigest()[:16]}"
        now = stamp(self._now)
        there = {
            "apiVersion": TRMRUN.api_version, "kind": TRMRUN.kind, "name": about["name"],
            "namespace": self._space, "uid": about["uid"],
        }  # fmt: skip
        event = {
            "metadata": {"name": name, "namespace": self._space}, "involvedObject": there,
            "type": "Warning" if action.warning else "Normal", "reason": action.reason, "message": action.message,
            "source": {"component": COMPONENT}, "reportingComponent": "trm.dev/controller", "reportingInstance": "",
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        }  # fmt: skip
        try:
            self._cluster.create(EVENT, event)
        except ClusterConflictError:
            known = self._cluster.get(EVENT, name, self._space) or {}
            count = int(known.get("count") or 1) + 1
            with suppress(ClusterMissingError):
                again = {"count": count, "lastTimestamp": now, "message": action.message}
                self._cluster.patch(EVENT, name, again, self._space)


def says(whole: Any, part: Any) -> bool:
    """Say whether all that `part` says stands in `whole`, too: of mappings key by key, of anything else as a whole."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and says(whole[key], value) for key, value in part.items())
    return bool(whole == part)
