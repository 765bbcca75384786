"""What a TrmRun needs of a cluster: its definition, a controller that looks after it, and the right to make one."""

import time
from collections.abc import Iterator

from trmctl.cluster import DEFINITION, LEASE, TRMRUN, Cluster
from trmctl.doctor.finding import Finding, ok
from trmctl.pods import seconds
from trmkit import __version__
from trmkit.errors import ClusterForbiddenError
from trmkit.render.base import CONTROLLER_ACCOUNT
from trmkit.render.names import VERSION

SILENT = 60.0
"""Seconds without a sign of life after which no controller is there. One that works renews its Lease far more often."""
VERBS = ("create", "get", "list", "watch", "patch", "delete")
UPGRADE = "helm upgrade, or trmctl render --crd | kubectl apply --server-side -f -"


def controller_findings(cluster: Cluster, namespace: str, *, only_look: bool) -> Iterator[Finding]:
    """Yield what there is to say of TrmRuns; without their definition, one line that says how it goes without."""
    if not cluster.serves(TRMRUN):
        yield Finding("", "not needed", "no controller: runs are submitted as plain jobs")
        return
    yield ok(f"TrmRun {TRMRUN.api_version} is served")
    yield lease(cluster, namespace)
    missing = [] if only_look else [verb for verb in VERBS if not cluster.allowed(verb, TRMRUN, namespace)]
    if missing:
        yield Finding(
            "", "warning", f"this user may not {', '.join(missing)} {TRMRUN.plural}", "ask for the role editor"
        )
    yield definition(cluster)


def lease(cluster: Cluster, namespace: str) -> Finding:
    """See whether a controller has said lately that it looks after this namespace."""
    there = "TrmRuns wait until there is one"
    remedy = "controller.enabled=true of the chart; kubectl logs deployment/trm-controller says why one does not work"
    try:
        found = cluster.get(LEASE, CONTROLLER_ACCOUNT, namespace)
    except ClusterForbiddenError as error:
        return Finding("", "unknown", f"whether a controller works: {error.message}", "ask for `get leases`")
    if found is None:
        elsewhere = "unless one of another namespace looks after the whole cluster"
        return Finding("", "warning", f"no controller is in {namespace}: {there}, {elsewhere}", remedy)
    spec = found.get("spec") or {}
    renewed, now = seconds(spec.get("renewTime")), time.time() + cluster.server()[1]
    if not spec.get("holderIdentity") or renewed is None or now - renewed > SILENT:
        return Finding("", "failed", f"no controller has said anything for {SILENT:.0f} s: {there}", remedy)
    return ok(f"the controller {spec['holderIdentity']} works")


def definition(cluster: Cluster) -> Finding:
    """See whether the definition is that of this version, and is to stay."""
    name = f"{TRMRUN.plural}.{TRMRUN.group}"
    about = (cluster.get(DEFINITION, name) or {}).get("metadata") or {}
    if about.get("deletionTimestamp"):
        return Finding("", "failed", f"the definition {name} is being deleted, and every TrmRun with it", UPGRADE)
    version = (about.get("annotations") or {}).get(VERSION)
    if version != __version__:
        of = f"version {version}" if version else "a version that does not say which"
        return Finding("", "warning", f"the definition {name} is of {of}, this is {__version__}", UPGRADE)
    return ok(f"the definition {name} is of this version, {version}")
