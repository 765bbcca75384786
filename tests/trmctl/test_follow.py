"""Following a run: its phases, why it waits, its log across pods that come and go, and how it ends."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.trmctl.cluster_objects import add_job, add_pod, created, failed, running, succeeded, unschedulable
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import POD, PYTORCHJOB
from trmctl.follow import follow, sortable
from trmctl.jobs import find
from trmkit.errors import ClusterUnreachableError, TimedOutError

JOB = "demo-0123abcd"


class Followed:
    """What a follower said and wrote, and how it ended."""

    def __init__(self, cluster: FakeCluster, **how: Any) -> None:
        self.said: list[str] = []
        self.lines: list[str] = []
        start = cluster.now
        self.code = follow(
            cluster, find(cluster, "demo"), self.said.append, write=self.lines.append, wait=cluster.wait,
            clock=lambda: cluster.now - start, **how,
        )  # fmt: skip


def becomes(cluster: FakeCluster, conditions: list[dict[str, Any]]) -> Callable[[], object]:
    return lambda: cluster.edit(PYTORCHJOB, JOB, status={"conditions": conditions})


def test_a_run_is_followed_from_waiting_to_its_end() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, created(), workers=1)
    add_pod(cluster, 0, "Pending", conditions=unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."))

    def starts() -> None:
        add_pod(cluster, 0, log=["update 1", "update 2"])
        becomes(cluster, running())()

    cluster.script = [
        starts, lambda: cluster.logs.update({f"{JOB}-worker-0": ["update 1", "update 2", "update 3"]}),
        lambda: add_pod(cluster, 0, "Succeeded", terminated={"exitCode": 0}), becomes(cluster, succeeded()),
    ]  # fmt: skip
    done = Followed(cluster)
    assert done.code == 0
    assert done.lines == ["update 1", "update 2", "update 3"]
    assert [text for text in done.said if "waiting" in text] == [
        "waiting: no machine has enough free GPUs or network devices: 0/3 nodes are available: "
        "3 Insufficient nvidia.com/gpu."
    ]
    assert done.said[-1] == f"{JOB}: succeeded (PyTorchJob team/{JOB} successfully completed.)"


def test_a_pod_that_is_made_again_is_followed_again() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running(), workers=1)
    add_pod(cluster, 0, uid="first", log=["before"])

    def again() -> None:
        add_pod(cluster, 0, uid="second", log=["after"])

    cluster.script = [again, lambda: None, becomes(cluster, succeeded())]
    done = Followed(cluster)
    assert done.lines == ["before", "after"]
    assert "rank 0 is started again, in a new pod" in done.said


def test_ranks_are_marked_when_there_may_be_several_and_others_left_out() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running(), workers=3)
    for rank in range(3):
        add_pod(cluster, rank)
    cluster.script = [becomes(cluster, succeeded())]
    done = Followed(cluster, ranks=[0, 2])
    assert sorted(line.replace("\x1b[0m", "").rpartition("[")[2] for line in done.lines) == [
        "rank 0] rank 0 says hello",
        "rank 2] rank 2 says hello",
    ]


def test_the_exit_code_is_that_of_the_run() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *failed(), workers=1)
    add_pod(cluster, 0, "Failed", terminated={"exitCode": 1, "message": "ValueError"}, log=["boom"])
    done = Followed(cluster)
    assert (done.code, done.lines) == (1, ["boom"])
    assert "trmctl why" in done.said[-1]


def test_a_run_that_somebody_deletes_ends_the_following() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    cluster.script = [lambda: cluster.remove(PYTORCHJOB, JOB)]
    done = Followed(cluster)
    assert (done.code, done.said[-1]) == (4, f"{JOB} was deleted")


def test_a_cluster_that_does_not_answer_for_a_while_does_not_end_the_following() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    cluster.fail("list", POD, ClusterUnreachableError("down"), times=2)
    cluster.script = [lambda: None, lambda: None, becomes(cluster, succeeded())]
    seen = cluster.calls
    done = Followed(cluster, logs=False)
    assert done.code == 0
    assert [text for text in done.said if "does not answer" in text] == [
        "the cluster does not answer; still trying: down"
    ]
    assert not [call for call in seen if call[0] == "log"]


def test_waiting_ends_when_the_time_is_up() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    with pytest.raises(TimedOutError) as error:
        Followed(cluster, timeout=10, logs=False)
    assert error.value.exit_code == 5
    assert "goes on" in error.value.next


def test_ctrl_c_detaches_and_says_how_to_come_back() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running())

    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster.script = [interrupt]
    done = Followed(cluster, logs=False)
    assert done.code == 130
    assert f"trmctl logs -f {JOB}" in done.said[-1]
    assert cluster.mutations == []


def test_times_sort_as_text_whatever_their_fraction() -> None:
    stamps = ["2026-01-01T00:00:05Z", "2026-01-01T00:00:05.1Z", "2026-01-01T00:00:05.12Z", "2026-01-01T00:00:06Z"]
    assert all(sortable(a) < sortable(b) for a, b in itertools.pairwise(stamps))
