"""The parts that commands on a cluster are made of: profiles, curves, endings, the terminal."""

from pathlib import Path

import click
import pytest

from tests.trmctl.cluster_objects import RUN_FILE, add_event, add_job, add_pod, add_workflow, meta, running
from tests.trmctl.conftest import Run
from tests.trmctl.fake_cluster import FakeCluster
from trmctl import jobs
from trmctl import pods as p
from trmctl.cluster import CONFIG_MAP, EVENT, POD, PYTORCHJOB
from trmctl.follow import follow
from trmctl.profiles import Profile, profile
from trmctl.progress import attempts, parse, storage, stored
from trmctl.runs_in_cluster import ranks
from trmctl.screens.curves import bars, curve
from trmctl.screens.watcher import Watcher, screen
from trmctl.times import duration
from trmkit.errors import ClusterForbiddenError, SpecError
from trmkit.render.names import STORE
from trmkit.store.folder import FolderStore

JOB = "demo-0123abcd"


def write_profiles(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config.toml").write_text(text)
    monkeypatch.setenv("TRM_CONFIG", str(folder / "config.toml"))


GOOD = 'default = "lab"\n[profiles.lab]\ncontext = "lab-a100"\nnamespace = "research"\nstore = "s3://models"\n[profiles.x]\n'


def test_a_profile_is_the_default_one_or_that_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profiles(tmp_path, GOOD, monkeypatch)
    assert profile() == Profile("lab-a100", "research", None, "s3://models")
    assert profile("x") == Profile()
    monkeypatch.setenv("TRM_CONFIG", str(tmp_path / "none"))
    assert profile() == Profile()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.lab]\ncontxt = "x"', "profiles.lab.contxt: there is no such key; did you mean 'context'?"),
        ('defualt = "x"', "there is no such key; did you mean 'default'?"),
        ("[profiles.lab]\nqueue = 3", "profiles.lab.queue: is 3, and should be text"),
        ('default = "lbb"\n[profiles.lab]', "there is no profile 'lbb'; did you mean 'lab'?"),
        ("profiles = 1", "profiles: is no table"),
        ("[profiles]\nlab = 1", "profiles.lab: is no table"),
        ("default = 1", "default: is no name"),
        ("default = ", "config.toml"),
    ],
)
def test_a_profile_that_is_wrong_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profiles(tmp_path, text, monkeypatch)
    with pytest.raises(SpecError) as raised:
        profile()
    assert said in raised.value.message
    assert raised.value.next


def test_a_profile_says_where_unless_an_option_does(
    trmctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster("research")
    add_job(cluster, JOB, *running())
    write_profiles(tmp_path, GOOD, monkeypatch)
    assert trmctl("status", "demo", cluster=cluster).code == 0
    assert (cluster.context, cluster.namespace) == ("lab-a100", "research")
    trmctl("status", "demo", "--context", "other", "-n", "mine", cluster=cluster)
    assert (cluster.context, cluster.namespace) == ("other", "mine")
    trmctl("status", "demo", "--profile", "lab", "-n", "mine", cluster=cluster)
    assert (cluster.context, cluster.namespace) == ("lab-a100", "mine")
    assert trmctl("status", "demo", "--profile", "nope", cluster=cluster).code == 2


def test_a_curve_shows_how_a_number_went() -> None:
    drawn = curve([(0, 4.0), (50, 2.0), (100, 0.0)], 4, 2)
    assert drawn == ["        4 █▁▁ ", "        0 ███▁"]
    assert curve([(1, 5.0)], 3, 1) == ["        5 ▁▁▁"]
    assert curve([], 3, 1) == []


def test_the_slowest_rank_has_the_longest_bar() -> None:
    assert bars({1: 0.5, 0: 0.25}, 4) == [(0, "0.25", "██"), (1, "0.5", "████")]
    assert bars({}, 4) == []


def test_the_screen_of_a_run_has_curves_and_ranks() -> None:
    from rich.console import Console

    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    for rank in range(2):
        add_pod(cluster, rank)
    watcher = Watcher(cluster, jobs.find(cluster, "demo"), ['train_loss{part="total"}'])
    empty = screen(watcher.look(), 80, 24)
    for step in (10, 20, 10, 30):  # it went back to a checkpoint in between
        for rank in range(2):
            cluster.ports[(f"{JOB}-worker-{rank}", 9400, "/metrics")] = (
                f'trm_train_step {step}\ntrm_train_loss{{part="total"}} {100 / step}\n'
                f"trm_train_step_seconds {rank + 1}\n"
                'trm_time_seconds_total{phase="forward"} 3\ntrm_time_seconds_total{phase="data"} 1\n'
                'trm_eval_accuracy_by_depth_ratio{depth="10",level="exact"} 0.5\n'
                'trm_eval_accuracy_by_depth_ratio{depth="2",level="exact"} 0.25\n'
            )
        seen = watcher.look()
    assert seen.curves['train_loss{part="total"}'] == [(10, 10.0), (30, 100 / 30)]
    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        console.print(empty, screen(seen, 80, 24))
    text = console.export_text()
    assert "no numbers yet" in text
    assert 'train_loss{part="total"}  3.333' in text
    assert "seconds an update, by rank" in text
    assert "time  forward 75%  data 25%" in text
    assert "test rows right after step  2: 25.0%  10: 50.0%" in text


def test_text_of_prometheus_is_read_and_the_rest_left_out() -> None:
    text = '# TYPE a gauge\ntrm_train_step 5.0\ntrm_x{rank="1",t="}\\"{"} 2e-3\ntrm_bad one\nother 1\ntrm_nan NaN\n'
    assert {name: value for name, value in parse(text).items() if value == value} == {
        "trm_train_step": 5,
        'trm_x{rank="1",t="}\\"{"}': 0.002,
    }


def test_the_store_of_a_run_says_how_far_it_is_and_how_often_it_was_tried(tmp_path: Path) -> None:
    cluster = FakeCluster()
    body = add_job(cluster, JOB, *running())
    assert stored(jobs.Job(PYTORCHJOB, body), None) is None
    body["metadata"]["annotations"][STORE] = f"{tmp_path}/demo/0123abcd"
    job = jobs.Job(PYTORCHJOB, body)
    options = storage(cluster, job)
    assert attempts(job, options) == []
    store = FolderStore(tmp_path)
    store.write("demo/0123abcd/attempts.json", b'{"format": 1, "attempts": [{"number": 1}, "odd"]}')
    store.write("demo/0123abcd/run.json", b'{"format": 1, "state": "training", "step": 7, "total": 9}')
    found = stored(job, options)
    assert found is not None
    assert (found.step, found.total, found.checkpoint) == (7, 9, None)
    assert attempts(job, options) == [{"number": 1}]
    store.write("demo/0123abcd/attempts.json", b"[" * 100_000)
    assert attempts(job, options) == []


def test_a_store_is_reached_as_the_run_file_says_or_the_environment_of_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = FakeCluster()
    body = add_job(cluster, JOB, *running())
    assert storage(cluster, jobs.Job(PYTORCHJOB, body)) is None
    body["metadata"]["annotations"][STORE] = "s3://bucket/trm/demo/0123abcd"
    job = jobs.Job(PYTORCHJOB, body)
    text = RUN_FILE + "storage: {remote: 's3://bucket/trm', endpoint_url: 'http://minio:9000', region: here}\n"
    cluster.edit(CONFIG_MAP, JOB, data={"run.yaml": text})
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    found = storage(cluster, job)
    assert found is not None
    assert (found.remote, found.endpoint_url, found.region) == ("s3://bucket/trm", "http://minio:9000", "here")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000")
    found = storage(cluster, job)
    assert found is not None
    assert (found.endpoint_url, found.region) == (None, "here")
    cluster.remove(CONFIG_MAP, JOB)
    found = storage(cluster, job)
    assert found is not None
    assert (found.remote, found.region) == ("s3://bucket/trm", None)
    body["metadata"]["annotations"][STORE] = "gs://bucket/trm/demo/0123abcd"
    assert storage(cluster, jobs.Job(PYTORCHJOB, body)) is None


def test_ranks_and_times_are_read_as_people_write_them() -> None:
    assert ranks("0,3-5,4") == [0, 3, 4, 5]
    assert ranks("all") is None
    assert [duration(text) for text in ("90", "90s", "1.5m", "2h", "3d")] == [90, 90, 90, 7200, 259_200]
    for wrong in ("", "x", "1-", "-1", "1,,2"):
        with pytest.raises(click.BadParameter):
            ranks(wrong)
    for wrong in ("", "soon", "1w"):
        with pytest.raises(click.BadParameter):
            duration(wrong)


@pytest.mark.parametrize(
    ("text", "reason", "message", "step"),
    [
        ('log line\n{"exit": 143, "reason": "PeerLost", "message": "gone", "step": 5}\n', "PeerLost", "gone", 5),
        ('{"exit": 1, "reason": null, "message": 7, "step": "x"}', "Error", "7", None),
        ("Traceback\nValueError: x", "Error", "Traceback\nValueError: x", None),
        ("[" * 5000, "Error", "[" * 5000, None),
    ],
)
def test_last_words_are_json_of_the_launcher_or_anything(
    text: str, reason: str, message: str, step: int | None
) -> None:
    found = p.parse_ending({"exitCode": 143, "reason": "Error", "message": text})
    assert (found.reason, found.message, found.step) == (reason, message, step)


def test_events_of_both_styles_are_found_and_sorted_and_those_of_others_left_out() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running())
    add_pod(cluster, 0)
    add_event(cluster, "Second", "b", f"{JOB}-worker-0", kind="Pod")
    new_style = {
        "involvedObject": {"name": JOB, "kind": "PyTorchJob"},
        "reason": "First",
        "eventTime": "2020-01-01T00:00:00Z",
    }
    cluster.put(EVENT, {"metadata": {"name": "n"}, **new_style})
    add_event(cluster, "Other", "c", "another-job")
    old = add_event(cluster, "Old", "of an earlier job of this name")
    old["involvedObject"]["uid"] = "gone"
    cluster.put(EVENT, old)
    job = jobs.find(cluster, "demo")
    assert [one["reason"] for one in jobs.events(cluster, job, jobs.pods(cluster, job))] == ["First", "Second"]


def test_steps_of_a_workflow_are_followed_under_their_names() -> None:
    cluster = FakeCluster()
    add_workflow(cluster, "Running")
    for step in ("build", "train"):
        about = meta(f"{JOB}-{step}")
        about["labels"]["workflows.argoproj.io/workflow"] = JOB
        about["annotations"]["workflows.argoproj.io/node-name"] = f"{JOB}.{step}"
        state = {"name": "main", "state": {"running": {}}}
        status = {"phase": "Running", "containerStatuses": [state]}
        cluster.put(
            POD, {"metadata": about, "spec": {"containers": [{"name": "wait"}, {"name": "main"}]}, "status": status}
        )
        cluster.logs[f"{JOB}-{step}"] = [f"{step}s"]
    cluster.script = [lambda: add_workflow(cluster, "Failed", "child failed")]
    said: list[str] = []
    lines: list[str] = []
    code = follow(cluster, jobs.find(cluster, "demo"), said.append, write=lines.append, wait=cluster.wait)
    assert code == 1
    assert sorted(click.unstyle(line) for line in lines) == ["[build] builds", "[train] trains"]
    assert not [text for text in said if "started again" in text]


def test_a_log_that_may_not_be_read_is_said_once() -> None:
    cluster = FakeCluster()
    add_job(cluster, JOB, *running(), workers=1)
    add_pod(cluster, 0)
    cluster.fail("log", POD, ClusterForbiddenError('cannot get resource "pods/log"'), times=9)
    cluster.script = [lambda: None, lambda: None, lambda: cluster.remove(PYTORCHJOB, JOB)]
    lines: list[str] = []
    follow(cluster, jobs.find(cluster, "demo"), lambda text: None, write=lines.append, wait=cluster.wait)
    assert lines == ['[the log cannot be read: cannot get resource "pods/log"]']
