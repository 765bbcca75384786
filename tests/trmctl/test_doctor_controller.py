"""What `trmctl doctor` says of TrmRuns: their definition, who looks after them, and who may make them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.trmctl.conftest import Run
from tests.trmctl.fake_cluster import FakeCluster
from tests.trmctl.test_doctor import findings, healthy
from trmctl.cluster import DEFINITION, LEASE, TRMRUN
from trmkit import __version__
from trmkit.render.crd import definition


def with_a_controller(cluster: FakeCluster, *, ago: float = 0.0) -> FakeCluster:
    """Return the cluster with TrmRun served, and a controller that gave a sign of life so many seconds ago."""
    cluster.served |= {TRMRUN, DEFINITION}
    cluster.put(DEFINITION, definition())
    renewed = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")
    cluster.put(LEASE, {"metadata": {"name": "trm-controller"},
                        "spec": {"holderIdentity": "trm-controller-0", "renewTime": renewed}})  # fmt: skip
    return cluster


def said(trmctl: Run, cluster: FakeCluster, *arguments: str) -> list[tuple[str, str]]:
    """Return state and message of each finding about TrmRuns."""
    found = findings(trmctl, cluster, *arguments)
    return [(one["state"], one["message"]) for one in found if one["check"] == "TrmRun"]


def test_a_cluster_without_the_definition_is_told_how_runs_go_there(trmctl: Run) -> None:
    assert said(trmctl, healthy()) == [("not needed", "no controller: runs are submitted as plain jobs")]
    assert trmctl("doctor", cluster=healthy()).code == 0


def test_a_controller_that_works_is_well(trmctl: Run) -> None:
    found = said(trmctl, with_a_controller(healthy()))
    assert [state for state, _ in found] == ["ok"] * 3
    assert "trm.dev/v1alpha1 is served" in found[0][1]
    assert "trm-controller-0 works" in found[1][1]
    assert f"of this version, {__version__}" in found[2][1]


def test_a_controller_that_is_silent_is_a_failure(trmctl: Run) -> None:
    cluster = with_a_controller(healthy(), ago=120)
    state, message = said(trmctl, cluster)[1]
    assert state == "failed"
    assert "for 60 s: TrmRuns wait" in message
    assert trmctl("doctor", cluster=cluster).code == 1
    given_back = with_a_controller(healthy())
    given_back.edit(LEASE, "trm-controller", spec={"holderIdentity": ""})
    assert said(trmctl, given_back)[1][0] == "failed"


def test_silence_is_measured_by_the_clock_of_the_cluster(trmctl: Run) -> None:
    behind = with_a_controller(healthy(), ago=120)
    behind.clock_ahead = -120.0
    assert said(trmctl, behind)[1][0] == "ok"


def test_no_controller_in_the_namespace_may_be_one_of_the_whole_cluster(trmctl: Run) -> None:
    cluster = with_a_controller(healthy())
    cluster.remove(LEASE, "trm-controller")
    state, message = said(trmctl, cluster)[1]
    assert state == "warning"
    assert "unless one of another namespace" in message


@pytest.mark.parametrize(
    ("change", "state", "message"),
    [
        ({"annotations": {"trm.dev/version": "0.0.9"}}, "warning", "is of version 0.0.9"),
        ({"annotations": {}}, "warning", "a version that does not say which"),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, "failed", "is being deleted"),
    ],
)
def test_a_definition_that_is_not_of_this_version_or_about_to_go_is_said(
    change: dict[str, Any], state: str, message: str, trmctl: Run
) -> None:
    cluster = with_a_controller(healthy())
    cluster.put(DEFINITION, {"metadata": definition()["metadata"] | change})
    found = said(trmctl, cluster)[-1]
    assert found[0] == state
    assert message in found[1]


def test_rights_that_are_missing_are_named_but_not_from_inside(trmctl: Run) -> None:
    cluster = with_a_controller(healthy())
    cluster.denied |= {("create", TRMRUN.plural), ("patch", TRMRUN.plural)}
    assert ("warning", "this user may not create, patch trmruns") in said(trmctl, cluster)
    assert all(state == "ok" for state, _ in said(trmctl, cluster, "--in-cluster"))


def test_who_may_not_read_leases_or_definitions_is_told_that_it_is_not_known(trmctl: Run) -> None:
    cluster = with_a_controller(healthy())
    cluster.denied |= {("get", LEASE.plural), ("get", DEFINITION.plural)}
    assert [state for state, _ in said(trmctl, cluster)] == ["ok", "unknown", "unknown"]
    assert trmctl("doctor", cluster=cluster).code == 0
