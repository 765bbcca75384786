"""What is rendered is taken: by the operators' definitions, by the API server's, and under PodSecurity restricted."""

from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError, validate

from tests.trmkit.render.crds import needs_crds, refusals
from tests.trmkit.render.runs import ONLY_PYTORCHJOB, everything, many, small
from trmkit.errors import SpecError
from trmkit.render.base import base
from trmkit.render.check import problems
from trmkit.render.names import JOB, job_name
from trmkit.render.objects import Backend, remarks, render
from trmkit.render.podsecurity import violations
from trmkit.render.runtime import runtime
from trmkit.render.text import write_all
from trmkit.spec.load import dump, loads
from trmkit.spec.run import RunFile

RUNS = many()
BACKENDS: list[Backend] = ["pytorchjob", "trainjob"]
RELEASES = {"PyTorchJob": "training-operator-v1.9.4", "TrainJob": "trainer-v2.3.0"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def worker(job: dict[str, Any]) -> dict[str, Any]:
    """Return the pod template of a PyTorchJob."""
    template: dict[str, Any] = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    return template


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


@needs_crds
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("run", [run for _, run in RUNS], ids=[name for name, _ in RUNS])
def test_the_operators_definitions_take_every_job(run: RunFile, backend: Backend) -> None:
    job = render(run, backend)[1]
    assert refusals(job, RELEASES[job["kind"]]) == []


@needs_crds
def test_the_runtime_is_taken_and_a_wrong_field_is_not() -> None:
    assert refusals(runtime(), "trainer-v2.3.0") == []
    job = render(small(), "pytorchjob")[1]
    worker(job)["spec"]["nodeSelectr"] = {}
    assert "nodeSelectr" in refusals(job, "training-operator-v1.9.4")[0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("run", [run for _, run in RUNS], ids=[name for name, _ in RUNS])
def test_our_own_checks_find_nothing(run: RunFile, backend: Backend) -> None:
    assert [line for found in render(run, backend) for line in problems(found)] == []


def test_core_objects_are_valid_in_the_newest_release_and_an_old_one() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", **worker(render(everything(), "pytorchjob")[1])}
    pod["metadata"]["name"] = "one"
    config = render(everything(), "pytorchjob")[0]
    for found in [pod, config, *(one for one in base() if one["kind"] != "ClusterTrainingRuntime")]:
        for release in ("1.31", "1.37"):
            validate(found, release, strict=True)
    pod["spec"]["enableServiceLink"] = False
    with pytest.raises(ValidationError):
        validate(pod, "1.37", strict=True)


@pytest.mark.parametrize("run", [run for _, run in RUNS], ids=[name for name, _ in RUNS])
def test_every_pod_passes_podsecurity_restricted(run: RunFile) -> None:
    assert violations(worker(render(run, "pytorchjob")[1])["spec"]) == []
    pod = runtime()["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert violations(pod) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("run", [run for _, run in RUNS], ids=[name for name, _ in RUNS])
def test_a_yaml_reader_gets_back_what_was_rendered(run: RunFile, backend: Backend) -> None:
    objects = render(run, backend)
    assert list(yaml.safe_load_all(write_all(objects))) == objects


def test_the_pods_read_the_text_that_is_kept_beside_the_checkpoints() -> None:
    config = render(everything(), "pytorchjob")[0]
    assert config["data"]["run.yaml"] == dump(everything())
    assert loads(config["data"]["run.yaml"]) == everything()


def test_the_same_run_file_gives_the_same_name_and_hash_and_another_a_new_hash() -> None:
    one, two, other = (render(run, "pytorchjob") for run in (small(), small(), small("cluster.memory=8Gi")))
    assert one == two
    hashes = [objects[1]["metadata"]["annotations"]["trm.dev/spec-hash"] for objects in (one, other)]
    assert hashes[0] != hashes[1]
    assert one[1]["metadata"]["name"] == other[1]["metadata"]["name"] == job_name(small())


@pytest.mark.parametrize("length", [1, 35, 36, 37, 50])
def test_names_fit_every_object_that_is_made_of_them(length: int) -> None:
    run = small(f"name={'n' * length}", "cluster.nodes=16")
    assert len(job_name(run)) <= 45
    for backend in BACKENDS:
        assert problems(render(run, backend)[1]) == []
    cut = {job_name(small(f"name={'n' * 45}{last}")) for last in "ab"}
    assert len(cut) == 2


def test_workers_find_each_other_by_a_rendezvous_of_our_own() -> None:
    job = render(everything(), "pytorchjob")[1]
    name = job["metadata"]["name"]
    variables = env(worker(job)["spec"]["containers"][0])
    assert variables["PET_RDZV_ENDPOINT"] == f"{name}-worker-0:23456"
    assert variables["PET_RDZV_BACKEND"] == "c10d"
    assert variables["PET_RDZV_CONF"] == "join_timeout=900"
    assert variables["PET_MAX_RESTARTS"] == "0"
    assert "elasticPolicy" not in job["spec"]
    assert list(job["spec"]["pytorchReplicaSpecs"]) == ["Worker"]
    assert job["spec"]["pytorchReplicaSpecs"]["Worker"]["restartPolicy"] == "ExitCode"
    assert "backoffLimit" not in job["spec"]["runPolicy"]
    alone = env(worker(render(small(), "pytorchjob")[1])["spec"]["containers"][0])
    assert alone["PET_RDZV_ENDPOINT"] == "localhost:0"


def test_no_secret_value_is_in_any_object() -> None:
    variables = env(worker(render(everything(), "pytorchjob")[1])["spec"]["containers"][0])
    assert variables["WANDB_API_KEY"] == {"secretKeyRef": {"name": "wandb", "key": "key"}}
    assert variables["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "trm-s3", "key": "AWS_SECRET_ACCESS_KEY"}}
    assert variables["AWS_REGION"]["secretKeyRef"]["optional"] is True


def test_requests_equal_limits_and_pods_go_to_different_machines() -> None:
    template = worker(render(everything(), "pytorchjob")[1])
    resources = template["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["limits"]["nvidia.com/gpu"] == "8"
    assert resources["limits"]["rdma/ib"] == "1"
    spread = template["spec"]["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == {JOB: template["metadata"]["labels"][JOB]}
    assert template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_kueues_labels_are_on_the_job_and_not_on_its_pods() -> None:
    for backend in BACKENDS:
        job = render(everything(), backend)[1]
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
        assert job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    assert "kueue.x-k8s.io/queue-name" not in worker(render(everything(), "pytorchjob")[1])["metadata"]["labels"]


def test_a_gang_and_its_patience_go_to_the_operator() -> None:
    run = everything(*(f"cluster.{key}={value}" for key, value in ONLY_PYTORCHJOB.items()))
    policy = render(run, "pytorchjob")[1]["spec"]["runPolicy"]
    assert policy["schedulingPolicy"] == {
        "minAvailable": 2,
        "scheduleTimeoutSeconds": 900,
        "priorityClass": "high",
    }
    assert policy["activeDeadlineSeconds"] > 86400


@pytest.mark.parametrize("key", list(ONLY_PYTORCHJOB))
def test_a_trainjob_refuses_what_its_runtime_decides_unless_the_runtime_is_the_users(key: str) -> None:
    override = f"cluster.{key}={ONLY_PYTORCHJOB[key]}"
    with pytest.raises(SpecError, match=f"cluster.{key}"):
        render(everything(override), "trainjob")
    assert render(everything(override, "cluster.runtime=mine"), "trainjob")[1]["kind"] == "TrainJob"


@pytest.mark.parametrize("name", ["PET_NNODES", "TRM_JOB"])
def test_a_variable_of_the_jobs_own_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=name):
        render(small(f"cluster.env.{name}=1"), "pytorchjob")


@pytest.mark.parametrize(("name", "path"), [("work", "/elsewhere"), ("mine", "/scratch/"), ("mine", "/dev/shm")])
def test_a_volume_may_not_hide_one_of_the_jobs_own(name: str, path: str) -> None:
    volume = f"cluster.volumes=[{{kind: emptyDir, name: {name}, mount_path: {path}}}]"
    with pytest.raises(SpecError, match="the job's own"):
        render(small(volume), "pytorchjob")


def test_what_a_person_should_know_first_is_said() -> None:
    said = "\n".join(remarks(small("cluster.nodes=2", "cluster.gpus_per_node=1", "cluster.fabric=efa")))
    for words in ("nothing is kept", "is a tag", "cluster.fabric: efa", "not scheduled as one"):
        assert words in said
    assert "nothing is kept" not in "\n".join(remarks(everything()))
    assert "may not get out" in "\n".join(remarks(everything("cluster.grace_seconds=20")))
