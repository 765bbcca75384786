"""A run whose checkpoints somebody else scores is two jobs, and the second fits one process."""

from typing import Any

import pytest

from tests.trmkit.render.crds import needs_crds, refusals
from tests.trmkit.render.runs import everything, small
from tests.trmkit.render.test_objects import RELEASES, worker
from trmkit.errors import SpecError
from trmkit.render.check import problems
from trmkit.render.names import BESIDE, LONGEST, SPEC_HASH, STAGES
from trmkit.render.objects import Backend, remarks, render
from trmkit.render.podsecurity import violations
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile
from trmkit.stages import NAMES
from trmkit.store.layout import run_id

BACKENDS: tuple[Backend, ...] = ("pytorchjob", "trainjob")
MODE = ("evaluate.mode=job", "evaluate.every_steps=5")
STORE = "storage.remote=s3://bucket/trm"
ON_A_CLAIM = ("storage.path=/runs/mine", "cluster.volumes=[{kind: pvc, name: runs, mount_path: /runs, claim: runs}]")


def command(job: dict[str, Any]) -> list[str]:
    """Return what the pods of a PyTorchJob execute."""
    found: list[str] = worker(job)["spec"]["containers"][0]["command"]
    return found


def run_of(config: dict[str, Any]) -> RunFile:
    return loads(config["data"]["run.yaml"], "run.yaml")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_second_job_is_as_good_as_the_first(backend: Backend) -> None:
    objects = render(everything(*MODE), backend)
    assert [one["kind"] for one in objects[::2]] == ["ConfigMap", "ConfigMap"]
    assert [line for one in objects for line in problems(one)] == []
    if backend == "pytorchjob":
        assert [violations(worker(one)["spec"]) for one in objects[1::2]] == [[], []]


@needs_crds
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_operators_definitions_take_both(backend: Backend) -> None:
    for job in render(everything(*MODE), backend)[1::2]:
        assert refusals(job, RELEASES[job["kind"]]) == []


def test_one_job_trains_and_the_other_scores_and_reports() -> None:
    config, job, second_config, second = render(small(*MODE, STORE), "pytorchjob")
    assert command(job)[-1] == "build,features,train"
    assert command(second)[-1] == "follow,evaluate,report"
    name = job["metadata"]["name"]
    assert second["metadata"]["name"] == second_config["metadata"]["name"] == f"{name}-follow"
    assert second["metadata"]["labels"][BESIDE] == second_config["metadata"]["labels"][BESIDE] == name
    assert BESIDE not in job["metadata"]["labels"]
    assert worker(second)["spec"]["volumes"][0]["configMap"]["name"] == f"{name}-follow"
    assert STAGES not in job["metadata"]["annotations"]
    assert job["metadata"]["annotations"][SPEC_HASH] == config["metadata"]["annotations"][SPEC_HASH]


def test_who_scores_has_the_share_of_one_process_and_is_the_same_run() -> None:
    run = everything(*MODE, "train.batch_size=64", "cluster.deadline_seconds=60")
    config, job, second_config, second = render(run, "pytorchjob")
    found = run_of(second_config)
    assert (found.cluster.nodes, found.cluster.gpus_per_node, found.cluster.fabric) == (1, 1, "none")
    assert (found.cluster.cpu, found.cluster.memory) == ("8", "65536Mi")
    assert found.evaluate.batch_size == 64 // 16
    assert found.cluster.deadline_seconds is None
    assert run_id(found) == run_id(run_of(config))
    spec = second["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert (spec["replicas"], second["spec"]["nprocPerNode"]) == (1, "1")
    assert spec["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (("train",), ["train", "follow"]),
        (("train", "report"), ["train", "follow,report"]),
        (("features",), ["features"]),
        (("evaluate", "report"), ["evaluate,report"]),
    ],
)
def test_only_who_trains_is_followed(stages: tuple[str, ...], expected: list[str]) -> None:
    jobs = render(small(*MODE, STORE), "pytorchjob", stages=stages)[1::2]
    assert [command(job)[-1] for job in jobs] == expected
    assert jobs[0]["metadata"]["annotations"][STAGES] == ",".join(stages)


def test_two_jobs_need_a_place_to_meet() -> None:
    with pytest.raises(SpecError, match="have nothing to meet in"):
        render(small(*MODE), "pytorchjob")
    shared = small(*MODE, *ON_A_CLAIM)
    assert len(render(shared, "pytorchjob")) == 4
    assert any("ReadWriteMany" in line for line in remarks(shared))
    assert not any("mode: job" in line for line in remarks(small()))


def test_a_run_that_evaluates_by_itself_is_one_job() -> None:
    assert len(render(small(STORE, "evaluate.every_steps=5"), "pytorchjob", stages=NAMES)) == 2


@pytest.mark.parametrize("length", [1, 26, 40, 50])
def test_the_second_name_fits_too(length: int) -> None:
    objects = render(small(*MODE, STORE, f"name={'a' * length}"), "pytorchjob")
    first, second = (one["metadata"]["name"] for one in objects[1::2])
    assert first != second
    assert len(second) <= LONGEST
