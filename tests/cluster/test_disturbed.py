"""What happens to pods changes no weights: deleted, evicted and paused runs end with those of an undisturbed one."""

import functools
from collections.abc import Callable

import pytest

from tests.cluster.lab import END, MARKS, TURN, Lab
from tests.cluster.runfiles import LONG, weights
from trmctl import pods as p
from trmctl.cluster import POD

pytestmark = MARKS
TRAINING = ("--stages", "build,train")
"""The scores at the end are not what these tests are about."""
Weights = Callable[[int], tuple[str, str]]


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, store: str, any_backend: str) -> Weights:
    """Return a function: the weights that a run on so many pods ends with if nothing happens. Trained once each."""

    @functools.cache
    def train(nodes: int) -> tuple[str, str]:
        run = lab.file(f"undisturbed-{nodes}", f"cluster.backend={any_backend}", f"cluster.nodes={nodes}", steps=LONG)
        lab.finish(run, *TRAINING)
        return weights(lab.fetch(run))

    return train


@pytest.mark.parametrize(
    ("how", "nodes", "rank"), [("deleted", 1, 0), ("deleted", 2, 0), ("evicted", 2, 1)], ids=lambda value: str(value)
)
def test_a_run_that_loses_a_pod_goes_on_and_ends_with_the_same_weights(
    lab: Lab, backend: str, undisturbed: Weights, how: str, nodes: int, rank: int
) -> None:
    name = f"{how}-{backend}-{nodes}-{rank}"
    run = lab.file(name, f"cluster.backend={backend}", f"cluster.nodes={nodes}", steps=LONG)
    lab.submit(run, *TRAINING)
    before = lab.past(run, LONG // 5, nodes)
    following = lab.start("logs", "-f", run.job, "--timeout", f"{lab.patient(END):.0f}s")
    lab.until(following.said, 60, "the log is shown")
    if how == "deleted":
        lab.cluster.delete(POD, p.name(before[rank]), lab.namespace)
    else:
        lab.evict(before[rank])
    old = {p.uid(pod) for pod in before}

    def replaced() -> bool:
        pods = lab.pods(run)
        return len(pods) == nodes and not old & {p.uid(pod) for pod in pods}

    lab.until(replaced, TURN, f"all {nodes} pods are new ones")
    done = following.end(lab.patient(END + 30))
    assert done.code == 0, done.text
    assert "is started again, in a new pod" in done.err
    assert lab.trmctl("status", run.job, "-o", "json").data["attempts"] in (2, 3)  # pods do not come back all at once
    assert weights(lab.fetch(run)) == undisturbed(nodes)


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_paused_run_gives_its_machines_back_and_goes_on_from_its_checkpoint(
    lab: Lab, backend: str, undisturbed: Weights, nodes: int
) -> None:
    run = lab.file(f"paused-{backend}-{nodes}", f"cluster.backend={backend}", f"cluster.nodes={nodes}", steps=LONG)
    lab.submit(run, *TRAINING)
    lab.past(run, LONG // 5, nodes)
    lab.trmctl("pause", run.job, "--wait", seconds=TURN)
    assert lab.pods(run) == []
    status = lab.trmctl("status", run.job, "-o", "json").data
    assert status["phase"] == "Paused"
    assert 0 < status["checkpoint"] < LONG
    assert "it is paused" in lab.trmctl("why", run.job).out.lower()

    lab.trmctl("resume", run.job, "--wait", seconds=TURN)
    done = lab.trmctl("logs", "-f", run.job, code=None, seconds=END)
    assert done.code == 0, done.text
    assert f"brought step {status['checkpoint']} from" in done.text
    assert weights(lab.fetch(run)) == undisturbed(nodes)
