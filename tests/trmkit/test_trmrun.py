"""A run file as a TrmRun and back: the same run, the same keys, and every mistake with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trmkit.test_load import GOOD
from trmkit.errors import SpecError
from trmkit.render.names import job_name
from trmkit.render.text import write_all
from trmkit.render.trmrun import trmrun
from trmkit.spec import load as files
from trmkit.spec.load import load_said, loads
from trmkit.spec.trmrun import TrmRunSpec, read, seconds
from trmkit.spec.yaml_write import write
from trmkit.store.layout import run_id

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def as_trmrun(text: str, **around: Any) -> str:
    """Return the text of a TrmRun of a run file."""
    found = trmrun(files.read(text, "run.yaml"))
    return write_all([found | {"spec": found["spec"] | around}])


def wrong(text: str, *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        loads(text, "trmrun.yaml", overrides)
    return caught.value.message


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_run_file_comes_back_from_its_trmrun_as_it_was(path: Path) -> None:
    said = load_said(path)
    again = files.read(write_all([trmrun(said)]), "trmrun.yaml")
    assert again.run == said.run
    assert run_id(again.run) == run_id(said.run)
    assert list(flat(again.given)) == list(flat(said.given))
    assert loads(write(again.given)) == said.run


def flat(given: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return every value with its path, in order: dicts that are equal may have another order."""
    if isinstance(given, dict):
        return [one for key, value in given.items() for one in flat(value, f"{path}.{key}")]
    return [(path, given)]


def test_it_holds_what_the_run_file_says_and_nothing_else() -> None:
    found = trmrun(files.read(GOOD, "run.yaml"))
    run = loads(GOOD)
    assert found["metadata"] == {"name": job_name(run)}
    assert list(found["spec"]) == ["run"]
    assert list(found["spec"]["run"]) == ["name", "model", "data", "train"]
    assert found["spec"]["run"]["train"] == {"steps": 10, "batch_size": 8}


def test_its_name_and_namespace_can_be_said() -> None:
    said = files.read(GOOD + "cluster: {namespace: lab}\n", "run.yaml")
    assert trmrun(said)["metadata"]["namespace"] == "lab"
    assert trmrun(said, "mine", "team")["metadata"] == {"name": "mine", "namespace": "team"}
    with pytest.raises(SpecError, match="no name of a TrmRun"):
        trmrun(said, "Mine")


def test_a_trmrun_stays_what_it_is() -> None:
    text = as_trmrun(GOOD, suspend=True, deadline="3d")
    named = trmrun(files.read(text, "trmrun.yaml"), "mine")
    assert trmrun(files.read(write_all([named]), "trmrun.yaml")) == named
    assert named["spec"] | {"run": {}} == {"run": {}, "suspend": True, "deadline": "3d"}


def test_a_part_of_a_processor_is_written_as_kubernetes_takes_it() -> None:
    said = files.read(GOOD + "cluster: {cpu: 0.5, memory: 4, resources: {a.b/c: 1.5}}\n", "run.yaml")
    found = trmrun(said)["spec"]["run"]["cluster"]
    assert found == {"cpu": "0.5", "memory": 4, "resources": {"a.b/c": "1.5"}}


def test_changes_reach_the_run_file_in_a_trmrun() -> None:
    text = as_trmrun(GOOD)
    assert loads(text, "trmrun.yaml", ["train.steps=20", "cluster.nodes=2"]).train.steps == 20
    assert files.read(text, "trmrun.yaml", ["seed=3"]).given["seed"] == 3
    assert "spec.run.train.stepz: unknown key; did you mean 'steps'?" in wrong(text, "train.stepz=3")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size: 8", "batchsize: 8", "spec.run.train.batchsize: unknown key; did you mean 'batch_size'?"),
        ("steps: 10", "steps: ten", "spec.run.train.steps: expected a whole number, found 'ten'"),
        ("source: arc", "source: acr", "spec.run.data.source: expected one of"),
        ("num_heads: 4", "num_heads: 7", "spec.run.model.num_heads: 7 does not divide hidden_size 64"),
        ("suspend: false", "suspnd: false", "spec.suspnd: unknown key; did you mean 'suspend'?"),
        ("suspend: false", "suspend: yes", "spec.suspend: expected true or false, found 'yes'; write true or false"),
        (
            "suspend: false",
            "deadline: 3 days",
            "spec.deadline: expected a time such as 90s, 1h30m or 3d, found '3 days'",
        ),
        ("suspend: false", "deadline: 0s", "spec.deadline: no time at all"),
        ("suspend: false", "attempts: {backoff: 20m}", "spec.attempts: longestBackoff 10m is shorter than backoff 20m"),
        ("suspend: false", "stopWhen: {}", "spec.stopWhen: give target, patience, or both"),
        ("suspend: false", "stopWhen: {target: 1}", "spec.stopWhen: the run is scored only at its end"),
        ("trm.dev/v1alpha1", "trm.dev/v2", "apiVersion: expected 'trm.dev/v1alpha1', found 'trm.dev/v2'"),
        ("kind: TrmRun", "kind: PyTorchJob", "kind: expected 'TrmRun', found 'PyTorchJob'"),
        ("suspend: false", "suspend: false\ndata: {}", "data: unknown key"),
    ],
)
def test_a_mistake_is_said_with_its_line_and_whole_path(old: str, new: str, said: str) -> None:
    text = as_trmrun(GOOD, suspend=False)
    assert old in text
    broken = text.replace(old, new)
    message = wrong(broken)
    assert said in message
    line = 1 + broken[: broken.index(new.split("\n")[-1])].count("\n")
    assert message.startswith(f"trmrun.yaml:{line}: ") or "num_heads" in said or "stopWhen" in said


def test_all_mistakes_are_said_at_once() -> None:
    text = as_trmrun(GOOD, suspend=3).replace("steps: 10", "steps: -1").replace("name: little\n", "name: L\n")
    assert "3 things are wrong" in wrong(text)


def test_an_object_without_a_run_says_what_is_missing() -> None:
    head = "apiVersion: trm.dev/v1alpha1\nkind: TrmRun\n"
    assert "spec: missing" in wrong(head, "train.steps=3")
    assert "spec.run: missing" in wrong(head + "spec: {}\n")
    assert "spec: expected a section" in wrong(head + "spec: 3\n")


def test_a_name_that_cannot_be_a_label_is_an_error() -> None:
    text = as_trmrun(GOOD).replace(job_name(loads(GOOD)), "a" * 64)
    assert "metadata.name: 'aaa" in wrong(text)


def test_what_an_api_server_gives_is_read() -> None:
    text = GOOD + "  lr: 1.0\n  ema: 0.0\nevaluate: {early_exit: 2.0}\ncluster: {stall_minutes: 30.0}\n"
    body = trmrun(files.read(text, "run.yaml"))
    body |= {"status": {"phase": "Running", "anything": 1}}
    whole = json.loads(json.dumps(body).replace(".0,", ",").replace(".0}", "}"))
    assert whole["spec"]["run"]["train"]["lr"] == 1
    assert isinstance(whole["spec"]["run"]["train"]["lr"], int)
    found = read(whole)
    assert found == TrmRunSpec(run=loads(text))
    assert run_id(found.run) == run_id(loads(text))


def test_an_object_says_all_that_is_wrong_with_it() -> None:
    body = trmrun(files.read(GOOD, "run.yaml"))
    body["spec"]["run"]["train"] |= {"lr": "fast", "steps": 0}
    body["spec"] |= {"suspend": 1}
    with pytest.raises(SpecError) as caught:
        read(body)
    assert caught.value.message.splitlines() == [
        "spec.run.train.steps: expected a number above 0, found 0",
        "spec.run.train.lr: expected a number, found 'fast'",
        "spec.suspend: expected true or false, found 1",
    ]
    assert caught.value.next
    for nothing in ({}, {"spec": None}, {"spec": []}):
        with pytest.raises(SpecError, match="spec: expected a section"):
            read(nothing)


def test_an_object_with_many_mistakes_says_how_many_more() -> None:
    body = trmrun(files.read(GOOD, "run.yaml"))
    body["spec"]["run"]["train"] |= {f"key{number}": 1 for number in range(30)}
    with pytest.raises(SpecError, match="and 10 more"):
        read(body)


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("1h30m", 5400), ("3d", 259_200)])
def test_a_duration_is_so_many_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected
