"""Pipelines and sweeps: what Argo's definitions take, what every step promises, and what the steps execute."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trmkit.render.crds import needs_crds, refusals
from tests.trmkit.render.runs import everything, small
from trmkit.errors import SpecError
from trmkit.render.podsecurity import violations
from trmkit.render.text import write_all
from trmkit.render.workflow import cron, ladder, pipeline, sweep
from trmkit.spec.load import loads
from trmkit.stages import STAGES
from workflows import notify, point, step
from workflows.ladder import ladder_template
from workflows.pipeline import pipeline_template
from workflows.sweep import sweep_template

RUNGS = [("baseline", 0), ("latent", 0), ("baseline", 1), ("latent", 1)]
POINTS = [["train.lr=1e-4"], ["train.lr=3e-4", "data.side=4"]]
OBJECTS: dict[str, dict[str, Any]] = {
    "pipeline template": pipeline_template(),
    "sweep template": sweep_template(),
    "ladder template": ladder_template(),
    "pipeline": pipeline(everything())[1],
    "pipeline that asks for little": pipeline(small("storage.remote=s3://bucket/x"))[1],
    "sweep": sweep(everything(), POINTS, parallel=2)[1],
    "ladder": ladder(everything(), RUNGS, parallel=3)[1],
    "by the clock": cron(everything(), "0 3 * * *")[1],
}
TEMPLATES = [pipeline_template(), sweep_template(), ladder_template()]
STEPS = [one for template in TEMPLATES for one in template["spec"]["templates"] if "container" in one]


def parameters(workflow: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in workflow["spec"]["arguments"]["parameters"]}


@needs_crds
@pytest.mark.parametrize("release", ["argo-workflows-v3.7.18", "argo-workflows-v4.1.2-full"])
@pytest.mark.parametrize("name", OBJECTS)
def test_argos_definitions_take_every_workflow(name: str, release: str) -> None:
    found = OBJECTS[name]
    if found["kind"] == "CronWorkflow" and release.startswith("argo-workflows-v3"):
        pytest.skip("there is no definition of a CronWorkflow of 3.7 here")
    assert refusals(found, release) == []


@pytest.mark.parametrize("name", OBJECTS)
def test_a_yaml_reader_gets_back_what_was_rendered(name: str) -> None:
    assert yaml.safe_load(write_all([OBJECTS[name]])) == OBJECTS[name]


@pytest.mark.parametrize("one", STEPS, ids=[one["name"] for one in STEPS])
def test_every_step_is_restricted_retried_and_has_defaults(one: dict[str, Any]) -> None:
    whole = TEMPLATES[0]["spec"]
    pod = {"securityContext": whole["securityContext"], "containers": [one["container"]], "volumes": whole["volumes"]}
    assert violations(pod) == []
    assert "asInt(lastRetry.exitCode) in [3, 6]" in one["retryStrategy"]["expression"]
    for output in one.get("outputs", {}).get("parameters", ()):
        assert output["valueFrom"]["default"] == ""
    for artifact in one.get("outputs", {}).get("artifacts", ()):
        assert artifact["optional"] is True


def test_argos_own_containers_are_restricted_and_have_limits_too() -> None:
    for template in TEMPLATES:
        patch = json.loads(template["spec"]["podSpecPatch"])
        security = template["spec"]["securityContext"]
        assert [one["name"] for one in (*patch["initContainers"], *patch["containers"])] == ["init", "wait"]
        assert violations({"securityContext": security, **patch}) == []
        assert all("limits" in one["resources"] for one in (*patch["initContainers"], *patch["containers"]))


def test_only_steps_that_hand_in_jobs_may_do_so() -> None:
    accounts = {one["name"]: one["serviceAccountName"] for one in STEPS}
    assert {name for name, account in accounts.items() if account == "trm-workflow"} == {"features", "train", "point"}
    assert set(accounts.values()) == {"trm-workflow", "trm-step"}


def test_tries_are_not_limited_by_the_time_since_the_first() -> None:
    assert all("maxDuration" not in one["retryStrategy"]["backoff"] for one in STEPS)


def test_the_pipeline_has_the_stages_of_a_run_on_a_laptop_in_their_order() -> None:
    tasks = next(one for one in TEMPLATES[0]["spec"]["templates"] if "dag" in one)["dag"]["tasks"]
    assert [(one["name"], one.get("depends")) for one in tasks[: len(STAGES)]] == [
        (stage.name, " && ".join(stage.after) or None) for stage in STAGES
    ]
    assert {template["spec"]["onExit"] for template in TEMPLATES} == {"notify"}


def test_the_train_step_follows_a_job_and_takes_it_along_when_it_is_ended() -> None:
    train = next(one for one in STEPS if one["name"] == "train")["container"]["command"]
    line = " ".join(train)
    assert line.startswith("trmctl submit")
    assert "--wait --follow --if-exists adopt --on-signal delete" in line
    assert line.endswith("--stages train")


def test_each_steps_pod_gets_what_the_run_file_asks_for() -> None:
    found = parameters(OBJECTS["pipeline"])
    pods = {name: json.loads(found[f"{name}-pod"]) for name in ("build", "evaluate", "report")}
    gpus = {name: pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for name, pod in pods.items()}
    assert gpus == {"build": None, "evaluate": "8", "report": None}
    env = {entry["name"] for entry in pods["build"]["containers"][0]["env"]}
    assert {"AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "NCCL_DEBUG"} <= env
    assert "TRM_JOB" not in env
    assert {volume["name"] for volume in pods["build"]["volumes"]} == {"shm", "sets", "more", "notes", "token"}
    assert pods["evaluate"]["nodeSelector"] == {"node.kubernetes.io/instance-type": "p5.48xlarge"}


def test_a_workflow_gives_its_template_no_parameter_that_it_does_not_have() -> None:
    known = [{one["name"] for one in template["spec"]["arguments"]["parameters"]} for template in TEMPLATES]
    assert set(parameters(OBJECTS["pipeline"])) <= known[0]
    assert set(parameters(OBJECTS["sweep"])) <= known[1]
    assert set(parameters(OBJECTS["ladder"])) <= known[2]


def test_a_pipeline_keeps_its_data_set_in_the_store_and_refuses_to_be_without_one() -> None:
    config = pipeline(everything())[0]
    assert loads(config["data"]["run.yaml"]).storage.publish_data is True
    with pytest.raises(SpecError, match=r"storage\.remote"):
        pipeline(small())


def test_the_points_of_a_sweep_arrive_as_they_were_given() -> None:
    found = OBJECTS["sweep"]
    arrived = [json.loads(one) for one in json.loads(parameters(found)["points"])]
    assert arrived == POINTS
    assert found["spec"]["parallelism"] == 2
    assert point.command(json.dumps(arrived[1]), ["trmctl", "submit"])[2:] == [
        "--set", "train.lr=3e-4", "--set", "data.side=4",
    ]  # fmt: skip
    other = sweep(everything(), POINTS[:1], parallel=2)[1]
    assert other["metadata"]["name"] != found["metadata"]["name"]
    with pytest.raises(SpecError, match="1 to 1000"):
        sweep(everything(), [], parallel=1)


def test_a_ladder_trains_every_rung_and_knows_what_its_answer_is_of() -> None:
    found = parameters(OBJECTS["ladder"])
    arrived = [json.loads(one) for one in json.loads(found["points"])]
    assert arrived == [[f"model.variant={variant}", f"seed={seed}"] for variant, seed in RUNGS]
    assert (found["variants"], found["seeds"]) == ("baseline,latent", "2")
    assert OBJECTS["ladder"]["spec"]["parallelism"] == 3
    last = next(one for one in TEMPLATES[2]["spec"]["templates"] if one["name"] == "answer")
    assert last["container"]["command"][:3] == ["python", "-m", "workflows.answer"]


def test_a_stage_uses_the_gpus_of_its_pod() -> None:
    run = everything()
    assert "--nproc-per-node" in step.command("evaluate", "run.yaml", run)
    assert step.command("build", "run.yaml", run)[1:] == ["-m", "trainer", "build", "run.yaml"]


def test_steps_build_and_say_where_the_data_set_is(tmp_path: Path) -> None:
    run = tmp_path / "run.yaml"
    run.write_text(
        "name: little\nmodel: {family: trm, hidden_size: 64, num_heads: 4}\n"
        "data: {source: sudoku-generated, side: 4, train_puzzles: 20, test_puzzles: 5, num_aug: 0}\n"
        "train: {steps: 10, batch_size: 8}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "workflows.step", "build", str(run), str(tmp_path / "outputs")]
    assert subprocess.run(command, cwd=tmp_path, check=False, env=environment()).returncode == 0
    assert Path((tmp_path / "outputs" / "data").read_text(encoding="utf-8")).is_dir()


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


def test_a_step_that_is_told_to_stop_tells_its_child(tmp_path: Path) -> None:
    child = "import signal, sys, pathlib; signal.signal(15, lambda *_: sys.exit(143)); " \
            f"pathlib.Path({str(tmp_path / 'ready')!r}).touch(); signal.sigtimedwait([10], 30)"  # fmt: skip
    line = f"import sys; from workflows.children import run; sys.exit(run([sys.executable, '-c', {child!r}]))"
    with subprocess.Popen([sys.executable, "-c", line], env=environment()) as parent:
        while not (tmp_path / "ready").exists():
            assert parent.poll() is None
        parent.terminate()
        assert parent.wait(20) == 143


class Hook(BaseHTTPRequestHandler):
    """A webhook that remembers."""

    got: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


FAILURES = json.dumps(json.dumps([{"displayName": "train", "message": "exit 1"}]))


def test_a_webhook_is_told_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("NOTIFY_URL", f"http://127.0.0.1:{server.server_port}/hook")
    assert notify.main(["run-1", "team", "Failed", "61.5", FAILURES]) == 0
    server.server_close()
    assert Hook.got[-1]["text"] == "team/run-1: Failed after 62 s; failed: train"
    assert Hook.got[-1]["failed"] == ["train"]


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:9/nobody", "file:///etc/passwd", "http://169.254.169.254/latest"]
)
def test_a_webhook_that_is_not_there_fails_nothing(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("NOTIFY_URL", url)
    assert notify.main(["run-1", "team", "Succeeded", "1", "{{workflow.failures}}"]) == 0
