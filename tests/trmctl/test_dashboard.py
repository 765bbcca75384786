"""The page with the curves of runs: what it reads, and who may read it."""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.trmctl.conftest import Run
from tests.trmctl.dashboard_runs import LOSS, RIGHT, get, site, train_line, write_run
from trmctl.dashboard.local import Local, Tail, samples, split
from trmctl.dashboard.remote import Prometheus
from trmctl.dashboard.remote import shown as from_prometheus
from trmctl.dashboard.series import CURVES, LISTS, PANELS, curve_of, panels, thinned
from trmctl.dashboard.server import Site, is_ours, serve
from trmkit.errors import ClusterError, SpecError
from trmkit.metrics import BY_NAME


def test_every_panel_draws_metrics_that_there_are() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["about"].endswith(".")
    assert {curve.metric for curve in (*CURVES, *LISTS)} <= set(BY_NAME)
    assert len({curve.source for curve in (*CURVES, *LISTS)}) == len(CURVES) + len(LISTS)
    assert [panel.title for panel in PANELS if not panel.curves] == ["Where an update's time goes"]


def test_a_run_is_read_as_it_grows_and_anew_when_it_went_back(tmp_path: Path) -> None:
    root = write_run(tmp_path, "demo/0123abcd", 50)
    place = Local(tmp_path)
    shown = place.show("demo/0123abcd")
    assert shown is not None
    assert [point[0] for point in shown.curves[LOSS]] == [10, 20, 30, 40, 50]
    assert (shown.step, shown.total, shown.best, shown.left_seconds) == (50, 100, 0.25, 2.5)
    assert shown.lists[RIGHT] == [("1", 0.1), ("2", 0.2), ("3", 0.3), ("4", 0.25)]
    assert [kind for kind, _, _ in shown.events] == ["start", "checkpoint"]
    assert shown.phases["data"] == pytest.approx(0.01)
    assert shown.samples is not None
    with (root / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(train_line(60, 100, 0.8)) + "\n" + '{"kind": "train", "st')
        file.flush()
        again = place.show("demo/0123abcd")
        assert again is not None
        assert (again.step, len(again.curves[LOSS])) == (60, 6)
        file.write('ep": 70}\nnot json\n[1]\n{"kind": "train", "step": "x"}\n')
    again = place.show("demo/0123abcd")
    assert again is not None
    assert again.step == 70
    (root / "new").write_text(json.dumps(train_line(20, 100, 0.8)) + "\n")
    (root / "new").rename(root / "metrics.jsonl")
    back = place.show("demo/0123abcd")
    assert back is not None
    assert [point[0] for point in back.curves[LOSS]] == [20]
    (root / "metrics.jsonl").unlink()
    nothing = place.show("demo/0123abcd")
    assert nothing is not None
    assert nothing.curves == {}


def test_what_a_run_is_doing_is_told_by_its_last_lines(tmp_path: Path) -> None:
    now = time.time()
    states = {}
    for key, steps, more in (
        ("a/00000001", 50, None), ("a/00000002", 100, None), ("a/00000003", 50, "stopped"), ("a/00000004", 0, "empty"),
        ("a/00000005", 50, "old"), ("a/00000006", 100, "scored"),
    ):  # fmt: skip
        root = write_run(tmp_path, key, steps)
        if more == "stopped":
            with (root / "metrics.jsonl").open("a") as file:
                file.write('{"kind": "stopped", "step": 51, "nonfinite": 1}\n')
        if more == "empty":
            (root / "metrics.jsonl").write_text("")
        if more == "scored":
            (root / "eval.json").write_text("{}")
        if more == "old":
            for path in (root / "run.yaml", root / "metrics.jsonl", root / "checkpoints"):
                os.utime(path, (now - 3600, now - 3600))
        shown = Local(tmp_path).show(key)
        assert shown is not None
        states[key] = shown.state
    assert list(states.values()) == ["training", "trained", "failed", "starting", "silent", "scored"]


def test_numbers_that_cannot_be_drawn_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 1, "loss": NaN}\n{"kind": "train", "step": 2, "loss": true}\n')
    tail = Tail(path)
    tail.read()
    assert len(tail.lines) == 2
    root = write_run(tmp_path, "demo/0123abcd", 10)
    (root / "metrics.jsonl").write_text(path.read_text())
    shown = Local(tmp_path).show("demo/0123abcd")
    assert shown is not None
    assert LOSS not in shown.curves
    assert split([]) == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"step": NaN, "kind": "arc", "rows": []}', '{"step": 1, "kind": "arc", "rows": "abc"}',
     '{"step": 1, "kind": "arc", "rows": [{"question": [1], "prediction": [[1]], "truth": [[1]], "exact": true}]}'],
)  # fmt: skip
def test_samples_that_are_none_of_ours_are_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "samples.json").write_text(text)
    assert samples(tmp_path / "samples.json") is None


def test_every_number_that_is_logged_can_be_drawn() -> None:
    assert curve_of('trm_time_seconds_total{phase="data"}').source.key == "data_seconds"
    assert curve_of('trm_eval_loss{part="lm"}').source.key == "lm_loss"
    for wrong in ("trm_train_loss", "trm_eval_halted_ratio", "trm_memory_limit_bytes", "up"):
        with pytest.raises(SpecError, match="no line of log has"):
            curve_of(wrong)


def test_a_long_curve_is_thinned_and_keeps_its_spikes_and_its_end() -> None:
    points = [(float(step), 0.0, 1.0) for step in range(10_000)]
    points[5_001] = (5_001.0, 0.0, 99.0)
    points[7_003] = (7_003.0, 0.0, -5.0)
    kept = thinned(points)
    assert len(kept) <= 600
    assert {points[5_001], points[7_003], points[-1]} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(points[:10]) == points[:10]


def test_only_what_is_asked_for_properly_is_answered(tmp_path: Path) -> None:
    write_run(tmp_path, "demo/0123abcd", 20)
    with site(Local(tmp_path)) as url:
        status, body, headers = get(f"{url}/")
        assert status == 200
        assert b"<title>trm: runs</title>" in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert get(f"{url}/api/run?source=local&key=demo/0123abcd")[0] == 200
        for wrong in ("/api/run", "/api/run?source=local&key=../../etc", "/api/run?source=x&key=demo/0123abcd", "/../x",
                      "/server.py", f"/api/run?source=local&key={'a' * 400}"):  # fmt: skip
            assert get(url + wrong)[0] == 404
        for host in ("evil.example", "127.0.0.1.evil.example", "", "["):
            assert get(f"{url}/api/runs", Host=host)[0] == 403
        assert get(f"{url}/api/runs", Host="localhost:1234")[0] == 200
        request = urllib.request.Request(f"{url}/api/runs", data=b"{}", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(request, timeout=10)
    assert is_ours("[::1]:80", "::1")
    assert is_ours("box:80", "box")


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with site(Local(tmp_path)) as url, pytest.raises(SpecError, match="cannot be opened"):
        serve(Site([], 1), "127.0.0.1", int(url.rpartition(":")[2]))


def series(name: str, values: list[tuple[float, float]], **labels: str) -> dict[str, Any]:
    about = {"__name__": name, "run": "demo-0123abcd", "namespace": "lab", **labels}
    return {"metric": about, "values": [[when, str(value)] for when, value in values]}


ANSWER = [
    series("trm_train_step", [(0, 0), (10, 10), (20, 20)]), series("trm_train_total_steps", [(20, 40)]),
    series("trm_train_loss", [(0, 3), (10, 2), (20, 1)], part="total"), series("trm_train_loss", [(20, 9)], part="lm"),
    series("trm_eval_accuracy_by_depth_ratio", [(10, 0.1), (20, 0.3)], level="exact", depth="2"),
    series("trm_eval_accuracy_by_depth_ratio", [(10, 0.1), (20, 0.2)], level="exact", depth="10"),
    series("trm_time_seconds_total", [(0, 5), (10, 9), (20, 2)], phase="forward", pod="a"),
    series("trm_train_updates_total", [(0, 0), (10, 10), (20, 2)], pod="a"),
    series("trm_memory_used_bytes", [(20, 100)], pod="a"), series("trm_memory_used_bytes", [(20, 300)], pod="b"),
    series("trm_checkpoint_step", [(0, 0), (10, 0), (20, 20)]), series("trm_run_attempts_total", [(10, 1), (20, 2)]),
    series("trm_train_gradient_norm", [(10, float("nan")), (20, 5)]),
    series("trm_eval_best_ratio", [(20, float("inf"))]),
    series("trm_run_state", [(20, 1)], state="training"), series("trm_run_state", [(20, 0)], state="failed"),
]  # fmt: skip


def test_what_prometheus_answers_becomes_the_same_curves() -> None:
    shown = from_prometheus("lab/demo-0123abcd", "here", ANSWER, 30)
    assert from_prometheus("lab/demo-0123abcd", "here", ANSWER, 3600).state == "silent"
    assert shown.curves[LOSS] == [(0, 0, 3), (10, 10, 2), (20, 20, 1)]
    assert shown.lists[RIGHT] == [("2", 0.3), ("10", 0.2)]
    assert shown.phases["forward"] == pytest.approx((4 + 2) / (10 + 2))
    assert shown.curves["trm_memory_used_bytes"] == [(20, 20, 200)]
    assert shown.events == [("checkpoint", 20, 20), ("start", 20, 20)]
    assert (shown.state, shown.step, shown.total, shown.best) == ("training", 20, 40, None)
    assert shown.curves["trm_train_gradient_norm"] == [(20, 20, 5)]


@contextmanager
def prometheus(status: int = 200) -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    asked: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            one = {"metric": {"run": "demo-0123abcd", "namespace": "lab"}, "value": [20, "20"]}
            body = json.dumps({"data": {"result": [one] if self.path.endswith("query") else ANSWER}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_prometheus_is_asked_once_for_all_of_a_run_and_names_are_quoted() -> None:
    with prometheus() as (url, asked):
        place = Prometheus(url, 3600)
        assert [run.key for run in place.runs()] == ["lab/demo-0123abcd"]
        assert place.show('lab/a"}) or vector(1) #') is not None
    (query,) = asked[1]["query"]
    assert 'run="a\\"}) or vector(1) #"' in query
    assert asked[1]["step"] == ["9"]


def test_a_prometheus_that_does_not_answer_is_said_and_hides_nothing(tmp_path: Path, trmctl: Run) -> None:
    with prometheus(500) as (url, _), pytest.raises(ClusterError, match="does not answer"):
        Prometheus(url, 60).runs()
    write_run(tmp_path, "demo/0123abcd", 20)
    with site(Local(tmp_path), Prometheus("http://127.0.0.1:9", 60)) as url:
        status, body, _ = get(f"{url}/api/runs")
        found = json.loads(body)
        assert status == 200
        assert [run["key"] for run in found["runs"]] == ["demo/0123abcd"]
        assert "does not answer" in found["errors"][0]
        status, body, _ = get(f"{url}/api/run?source=127.0.0.1:9&key=a/b")
        assert status == 502
    assert trmctl("dashboard", "--prometheus", "http://me:word@here", "--no-open").code == 2
    assert trmctl("dashboard", "--prometheus", "file:///etc/passwd", "--no-open").code == 2


def test_what_is_trained_is_told_so_that_runs_can_be_told_apart(tmp_path: Path) -> None:
    root = write_run(tmp_path, "demo/0123abcd", 10)
    found = Local(tmp_path).show("demo/0123abcd")
    assert found is not None
    assert found.settings == {}  # the file is none
    (root / "run.yaml").write_text((Path(__file__).parents[2] / "configs" / "sudoku-4x4.yaml").read_text())
    found = Local(tmp_path).show("demo/0123abcd")
    assert found is not None
    assert found.settings["train.lr"] == "0.001"
    assert not [key for key in found.settings if "log" in key or key.startswith(("cluster", "storage"))]
