"""The endpoint: what is scraped, when, from where; what it costs those who come wrongly; what stays at the end."""

import json
import os
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from tests.trainer.helpers import change, free_port
from tests.trainer.scraping import Visitor, break_down, names, samples, scrape, value
from trainer.__main__ import main
from trainer.dist import World
from trainer.exporter import SILENT, Exporter, Place, place_of, spread
from trainer.metrics import read_lines
from trainer.serving import linger_seconds, opened, serving, unhurried
from trainer.train import train
from trmkit.errors import CheckpointError, SpecError, TrainError
from trmkit.metrics import BY_NAME, LABELS, MOST_SERIES, PHASES, STATES, TABLE
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.spec.train import Logging
from trmkit.store.layout import RunDirectory

LATER = {"trm_gpu_memory_bytes", "trm_gpu_memory_limit_bytes"}
"""Metrics that only a machine with a GPU has."""
STORE = {name for name in BY_NAME if name.startswith("trm_store_")}
TEXT = {"trm_eval_score_ratio"}
"""Metrics of language models alone."""
END = {name for name in BY_NAME if name.startswith("trm_test_")}


@pytest.fixture
def run(small_run: RunFile) -> RunFile:
    return change(small_run, f"train.log.prometheus_port={free_port()}", "train.log.prometheus_address=127.0.0.1")


def port(run: RunFile) -> int:
    found = place_of(run.train.log)
    assert found is not None
    return found.port


def test_a_run_exports_the_whole_table_and_nothing_else(run: RunFile, alone: World) -> None:
    with serving(run, RunDirectory.of(run), alone) as exporter:
        before = samples(scrape(port(run)))
        train(run, RunDirectory.of(run), alone, exporter)
        after = samples(scrape(port(run)))
    assert value(before, "trm_run_state", state="starting") == 1
    assert names(before) < names(after) == set(BY_NAME) - LATER - STORE - END - TEXT
    assert {label for _, labels in after for label, _ in labels} <= set(LABELS)
    assert len(after) <= MOST_SERIES
    assert value(after, "trm_train_step") == value(after, "trm_train_total_steps") == 12
    assert value(after, "trm_train_progress_ratio") == 1
    assert value(after, "trm_train_updates_total") == 12
    assert value(after, "trm_train_rows_total") == 12 * 8
    assert value(after, "trm_checkpoint_step") == 12
    assert value(after, "trm_checkpoint_saved_total") == 4  # 4, 6 (the best), 8 and 12
    assert value(after, "trm_run_attempts_total") == 1
    assert value(after, "trm_eval_accuracy_by_depth_ratio", depth="3", level="exact") == value(
        after, "trm_eval_accuracy_ratio", level="exact"
    )
    assert 0 < value(after, "trm_train_mfu_ratio") < 1
    assert value(after, "trm_memory_used_bytes") < value(after, "trm_memory_limit_bytes")
    with pytest.raises(urllib.error.URLError):
        scrape(port(run))


def test_types_and_help_are_those_of_the_table(run: RunFile, alone: World) -> None:
    with serving(run, RunDirectory.of(run), alone) as exporter:
        train(run, RunDirectory.of(run), alone, exporter)
        text = scrape(port(run))
    for family in text_string_to_metric_families(text):
        metric = BY_NAME.get(family.name) or BY_NAME[f"{family.name}_total"]
        assert family.documentation == metric.help
        assert family.type == ("counter" if metric.type == "counter" else "gauge")
    assert "_created" not in text


def test_the_phases_are_all_the_time_there_was(run: RunFile, alone: World) -> None:
    directory = RunDirectory.of(run)
    started = time.perf_counter()
    train(run, directory, alone)
    passed = time.perf_counter() - started
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    spent = {
        phase: sum(line.get(f"{phase}_seconds", 0) for line in lines if line["kind"] == "train") for phase in PHASES
    }
    assert 0 < sum(spent.values()) < passed
    assert min(spent[phase] for phase in ("data", "forward", "backward", "optimizer", "checkpoint", "evaluation")) > 0
    kinds = {line["kind"] for line in lines}
    assert kinds == {"run", "train", "eval", "checkpoint"}
    known = {source.kind for metric in TABLE for source in metric.log}
    assert kinds <= known
    assert all(line["time"] > 1.7e9 for line in lines)


def test_a_second_start_is_a_second_attempt(run: RunFile, alone: World) -> None:
    directory = RunDirectory.of(run)
    train(change(run, "train.steps=6"), RunDirectory.of(change(run, "train.steps=6")), alone)
    with serving(run, directory, alone) as exporter:
        train(run, directory, alone, exporter)
        first = samples(scrape(port(run)))
    longer = change(run, "train.steps=12")
    shutil.rmtree(directory.checkpoints / "step_00000012")
    with serving(longer, directory, alone) as exporter:
        train(longer, directory, alone, exporter)
        second = samples(scrape(port(run)))
    assert value(first, "trm_run_attempts_total") == 1
    assert main(["evaluate", str(directory.run_file)]) == 0  # is no start of the training
    assert value(second, "trm_run_attempts_total") == 2


def test_another_machine_exports_its_own_numbers_alone(run: RunFile, alone: World) -> None:
    exporter = Exporter("machine")
    train(run, RunDirectory.of(run), alone, exporter)
    found = {family.name for family in exporter.collect()}
    machine = {metric.name.removesuffix("_total") for metric in TABLE if metric.where == "machine"}
    assert "trm_time_seconds" in found
    assert found < machine


def test_only_the_first_process_of_a_machine_opens_a_port(run: RunFile) -> None:
    third = World(3, 4, 1, torch.device("cpu"))
    assert opened(run, RunDirectory.of(run), third) is SILENT
    assert (
        opened(change(run, "train.log.prometheus_port=null"), RunDirectory.of(run), World(0, 1, 0, third.device))
        is SILENT
    )


def test_a_port_of_the_environment_is_taken_where_the_run_file_names_none(
    small_run: RunFile, alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = free_port()
    monkeypatch.setenv("TRM_METRICS_PORT", str(number))
    with serving(small_run, RunDirectory.of(small_run), alone):
        assert value(samples(scrape(number)), "trm_run_state", state="starting") == 1
    theirs = Logging(prometheus_port=9109, prometheus_address="127.0.0.1", prometheus_path="/x")
    assert place_of(theirs) == Place("127.0.0.1", 9109, "/x")
    monkeypatch.setenv("TRM_JOB", "demo-0123abcd")  # who scrapes in a cluster has not read the run file
    assert place_of(theirs) == Place("::", number, "/metrics")
    monkeypatch.setenv("TRM_METRICS_PORT", "http")
    with pytest.raises(SpecError, match="is not a port"), serving(small_run, RunDirectory.of(small_run), alone):
        pass


@pytest.mark.parametrize("address", ["::", "127.0.0.1", "::1"])
def test_a_port_in_use_is_an_error_that_names_it(run: RunFile, alone: World, address: str) -> None:
    run = change(run, f"train.log.prometheus_address='{address}'")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as taken:
        taken.bind((address, port(run)))
        taken.listen()
        with pytest.raises(TrainError, match=f"metrics port {port(run)} cannot be opened"):
            opened(run, RunDirectory.of(run), alone)


def test_every_address_means_ipv6_and_ipv4(run: RunFile, alone: World) -> None:
    exporter = opened(change(run, "train.log.prometheus_address='::'"), RunDirectory.of(run), alone)
    try:
        assert "trm_run_info" in scrape(port(run))
        assert "trm_run_info" in scrape(port(run), "[::1]")
    finally:
        exporter.close()


def test_the_path_is_the_run_files_and_others_are_not_found(run: RunFile, alone: World) -> None:
    exporter = opened(change(run, "train.log.prometheus_path=/numbers"), RunDirectory.of(run), alone)
    try:
        assert "trm_run_info" in scrape(port(run), path="/numbers?x=1")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            scrape(port(run))
    finally:
        exporter.close()


def test_who_says_nothing_or_leaves_early_does_not_hold_up_the_others(run: RunFile, alone: World) -> None:
    exporter = opened(run, RunDirectory.of(run), alone)
    try:
        silent = [socket.create_connection(("127.0.0.1", port(run))) for _ in range(20)]
        with socket.create_connection(("127.0.0.1", port(run))) as early:
            early.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert "trm_run_info" in scrape(port(run))
        for client in silent:
            client.close()
    finally:
        exporter.close()


def test_of_many_depths_some_are_shown_the_first_and_the_last_too() -> None:
    shown = [int(depth) for depth, _ in spread("depth", [0.0] * 50)]
    assert len(shown) == 16
    assert shown[0] == 1
    assert shown[-1] == 50
    assert spread("depth", [0.5, 0.75]) == [("1", 0.5), ("2", 0.75)]
    assert [name for name, _ in spread("bin", [None] * 10)] == [f"{tenth / 10:g}" for tenth in range(1, 11)]


def test_a_part_of_a_range_that_has_no_rows_any_more_is_gone() -> None:
    exporter = Exporter("first")
    exporter.write("eval", 1, {"q_halt_rows": [3, None]})
    exporter.write("eval", 2, {"q_halt_rows": [None, 4]})
    (family,) = [found for found in exporter.collect() if found.name == "trm_eval_q_halt_rows"]
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"bin": "1"}, 4)]


def test_a_store_is_asked_when_somebody_looks() -> None:
    exporter, failures = Exporter("first"), iter([1, 3])
    exporter.follow("store", lambda: {"up": 0.0, "failures": next(failures)})
    seen = [{one.name: one.samples[0].value for one in exporter.collect()} for _ in range(2)]
    assert [one["trm_store_failures"] for one in seen] == [1, 3]
    assert seen[0]["trm_store_up"] == 0


def test_linger_lasts_as_long_as_it_says_in_a_cluster_and_not_at_all_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Logging(prometheus_port=1)
    assert linger_seconds(served) == 0
    assert linger_seconds(Logging(prometheus_port=1, linger_seconds=7.0)) == 7
    assert linger_seconds(Logging(pushgateway="http://gateway:9091")) == 30
    monkeypatch.setenv("TRM_JOB", "demo-0123abcd")
    assert linger_seconds(served) == 30
    assert linger_seconds(Logging()) == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_who_is_asked_to_leave_while_it_lingers_has_not_failed(signum: signal.Signals) -> None:
    with unhurried() as enough:
        threading.Timer(0.1, os.kill, (os.getpid(), signum)).start()
        assert enough.wait(60)


def test_the_last_values_can_still_be_scraped_after_the_report(run: RunFile, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(dump(change(run, "train.log.linger_seconds=60")))
    visitor = Visitor(port(run), "finished")
    assert main(["run", str(file)]) == 0
    visitor.join()
    assert names(visitor.seen) > END
    assert value(visitor.seen, "trm_test_score_ratio", metric="valid") >= 0


def test_a_gradient_that_is_not_finite_is_counted_and_can_be_scraped(run: RunFile, alone: World) -> None:
    run = change(run, "train.log.linger_seconds=60")
    visitor = Visitor(port(run), "failed")
    with pytest.raises(TrainError, match="not finite"), serving(run, RunDirectory.of(run), alone) as exporter:
        break_down(run, alone, exporter)
    visitor.join()
    assert value(visitor.seen, "trm_train_nonfinite_total") == 1
    assert value(visitor.seen, "trm_run_state", state="failed") == 1


def test_a_checkpoint_that_cannot_be_saved_is_counted_and_can_be_scraped(run: RunFile, alone: World) -> None:
    run, directory = change(run, "train.log.linger_seconds=60"), RunDirectory.of(run)
    directory.checkpoints.mkdir(parents=True)
    (directory.checkpoints / ".step_00000004.tmp").write_text("in the way")
    visitor = Visitor(port(run), "failed")
    with pytest.raises(CheckpointError, match="cannot be written"), serving(run, directory, alone) as exporter:
        train(run, directory, alone, exporter)
    visitor.join()
    assert value(visitor.seen, "trm_checkpoint_failures_total") == 1
    assert ("trm_checkpoint_step", ()) not in visitor.seen
    assert [line["kind"] for line in read_lines(directory.metrics)][-1] == "checkpoint_failed"


def test_the_state_is_one_at_any_moment() -> None:
    exporter, enough = Exporter("first"), threading.Event()
    exporter.state("starting")

    def change_all_the_time() -> None:
        while not enough.is_set():
            for state in STATES:
                exporter.state(state)

    other = threading.Thread(target=change_all_the_time)
    other.start()
    try:
        for _ in range(300):
            (family,) = [one for one in exporter.collect() if one.name == "trm_run_state"]
            assert sum(sample.value for sample in family.samples) == 1
    finally:
        enough.set()
        other.join()
