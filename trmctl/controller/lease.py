"""Who of several replicas decides: the one that holds a Lease (`coordination.k8s.io/v1`) and has renewed it lately.

A Lease does not stop one that was suspended in the middle of something. It need not: what is done twice is done once.
"""

import contextlib
from datetime import UTC, datetime

from trmctl import pods as p
from trmctl.cluster import LEASE, Cluster, Object
from trmkit.errors import ClusterConflictError, ClusterMissingError

NAME = "trm-controller"
LASTS = 30.0
"""Seconds for which nobody else takes the Lease after it was renewed."""
RENEWED = 10.0
"""Seconds after which it is renewed."""


ASKED = 6.0
"""Seconds that a question about it may take: who waits longer may have lost it meanwhile, and not know."""


class Lease:
    """A replica's hold on the Lease of its namespace."""

    def __init__(self, cluster: Cluster, namespace: str, holder: str) -> None:
        """Take a name for this replica that no other one has."""
        self._cluster = cluster
        self._space = namespace
        self._holder = holder
        self._seen: tuple[str, float] | None = None
        """What was read last, and when: clocks of machines differ, so that only changes are believed."""
        self._renewed: float | None = None

    def held(self, now: float) -> bool:
        """Say whether this replica decides, having renewed the Lease where it is time to; `now` never goes back."""
        if self._renewed is not None and now - self._renewed < RENEWED:
            return True
        try:
            mine = self._take(now)
        except ClusterConflictError:  # another one was faster
            mine = False
        self._renewed = now if mine else None
        return mine

    def lasts(self, now: float) -> bool:
        """Say whether nobody else can have taken the Lease yet, without asking."""
        return self._renewed is not None and now - self._renewed < LASTS - RENEWED

    def release(self) -> None:
        """Give it back, so that another one need not wait."""
        found = self._cluster.get(LEASE, NAME, self._space)
        if found is not None and (found.get("spec") or {}).get("holderIdentity") == self._holder:
            about = {"resourceVersion": p.about(found)["resourceVersion"]}
            change = {"metadata": about, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
            with contextlib.suppress(ClusterConflictError, ClusterMissingError):
                self._cluster.patch(LEASE, NAME, change, self._space)
        self._renewed = None

    def _take(self, now: float) -> bool:
        found = self._cluster.get(LEASE, NAME, self._space)
        spec = self._spec()
        if found is None:
            about = {"name": NAME, "namespace": self._space}
            self._cluster.create(LEASE, {"metadata": about, "spec": {**spec, "acquireTime": spec["renewTime"]}})
            return True
        known, version = found.get("spec") or {}, str(p.about(found)["resourceVersion"])
        holder = str(known.get("holderIdentity") or "")
        if holder not in ("", self._holder):
            if self._seen is None or self._seen[0] != version:
                self._seen = (version, now)
            if now - self._seen[1] < max(LASTS, float(known.get("leaseDurationSeconds") or LASTS)):
                return False
        if holder != self._holder:
            spec |= {"acquireTime": spec["renewTime"], "leaseTransitions": int(known.get("leaseTransitions") or 0) + 1}
        self._cluster.patch(LEASE, NAME, {"metadata": {"resourceVersion": version}, "spec": spec}, self._space)
        return True

    def _spec(self) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"holderIdentity": self._holder, "leaseDurationSeconds": int(LASTS), "renewTime": now}
