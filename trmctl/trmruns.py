"""Runs that a controller keeps: handing one in as a TrmRun, instead of as a job."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trmctl import pods as p
from trmctl.cluster import TRMRUN, Cluster, Object
from trmctl.jobs import Job
from trmctl.merge_patch import difference
from trmctl.phase import Phase
from trmctl.submission import ADOPT, FAIL, REPLACE, Say
from trmkit.errors import ClusterConflictError
from trmkit.spec.run import RunFile
from trmkit.spec.trmrun import TrmRunSpec


def served(cluster: Cluster, namespace: str) -> bool:
    """Say whether runs can be handed in as TrmRuns: there is such a kind, and this user may make them."""
    return cluster.serves(TRMRUN) and cluster.allowed("create", TRMRUN, namespace)


def trmrun(run: RunFile, name: str, namespace: str, around: Mapping[str, Any]) -> Object:
    """Return the TrmRun of a run file; `around`: what stands beside the run in the `spec`."""
    given = run.model_dump(mode="json", exclude_unset=True)
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"run": given, **around}}


def plan(cluster: Cluster, wanted: Object, if_exists: str) -> tuple[str, Job | None]:
    """Return what handing it in comes to, and what is there: `create`, `adopt` or `replace`.

    ClusterConflictError: a TrmRun of its name is there that may be neither adopted nor replaced.
    """
    about = wanted["metadata"]
    body = cluster.get(TRMRUN, about["name"], about["namespace"])
    if body is None:
        return "create", None
    found = Job(TRMRUN, body)
    same = _asked(body.get("spec") or {}) == _asked(wanted["spec"])
    phase = found.state().phase
    if if_exists == FAIL:
        raise ClusterConflictError(
            f"TrmRun {found.name} is there already: {phase}",
            next=f"trmctl status {found.name}; --if-exists adopt follows it, replace takes these settings",
        )
    if if_exists == REPLACE or (same and phase == Phase.FAILED):
        return REPLACE, found
    if not same:
        raise ClusterConflictError(
            f"TrmRun {found.name} is there with other settings: {phase}",
            next=f"trmctl diff run.yaml {found.name} shows them; --if-exists replace takes the new ones",
        )
    return ADOPT, found


def _asked(spec: Mapping[str, Any]) -> Any:
    """Return what a spec asks for, with what is not said around the run filled in; whether it is paused is no part.

    The run is as it is given: what it leaves open is for the namespace to say.
    """
    try:
        whole = TrmRunSpec.model_validate(spec)
    except ValidationError:  # of another version
        return dict(spec)
    return spec.get("run"), whole.model_dump(exclude={"run", "suspend"})


def hand_in(cluster: Cluster, wanted: Object, if_exists: str, say: Say) -> tuple[Job, str]:
    """Have the TrmRun be there; return it, and what was done: created, adopted or replaced.

    One that failed and is not changed is tried again. ClusterConflictError: as for `plan`.
    """
    what, found = plan(cluster, wanted, if_exists)
    about = wanted["metadata"]
    if found is None:
        return Job(TRMRUN, cluster.create(TRMRUN, wanted)), "created"
    if what == ADOPT:
        say(f"{found.name} is there already: {found.state().phase.lower()}")
        return found, "adopted"
    changes = difference(found.body.get("spec") or {}, wanted["spec"])
    if not changes:  # a spec that changes is what has a failed run tried again
        return tried_again(cluster, found), "replaced"
    version = {"resourceVersion": p.about(found.body)["resourceVersion"]}
    body = cluster.patch(TRMRUN, about["name"], {"metadata": version, "spec": changes}, about["namespace"])
    return Job(TRMRUN, body), "replaced"


def tried_again(cluster: Cluster, found: Job) -> Job:
    """Have a run that failed tried again as it is: its controller does that when its spec was changed, and back."""
    before = bool((found.body.get("spec") or {}).get("suspend"))
    body = found.body
    for suspend in (not before, before):
        body = cluster.patch(TRMRUN, found.name, {"spec": {"suspend": suspend}}, found.namespace)
    return Job(TRMRUN, body)
