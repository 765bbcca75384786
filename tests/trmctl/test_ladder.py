"""`trmctl ladder` as a user types it."""

import json
from pathlib import Path

import pytest

from tests.trmctl.conftest import Run
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import PYTORCHJOB, WORKFLOW, WORKFLOW_TEMPLATE
from trmkit.ladder import VARIANTS

TINY = """\
name: tiny
model: {family: ladder, size: pico, forward_dtype: float32, K: 2, max_K: 3, thought_tokens: 4, num_mem: 4,
        segment: 32}
data: {source: curriculum, seq_len: 128, tasks: [parity, copy], alg_tokens: 60000, items: 20,
       language: [{path: grammar, max_documents: 500}]}
train: {steps: 40, batch_size: 8, lr: 3e-3, warmup_steps: 4, optimizer: adamw, grad_clip: 1.0, ema: 0.9, threads: 1,
        data_workers: 0, checkpoint: {every_steps: 20}, log: {every_steps: 5}}
evaluate: {text: {max_new_tokens: 16, contexts: [256], needles: 1, ppl_tokens: 2000, rounds: [1, 2]}}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return str(file)


def test_a_part_of_a_ladder_is_trained_and_what_is_missing_is_named(trmctl: Run, tiny: str, tmp_path: Path) -> None:
    short = ("-c", tiny, "--variants", "shared_loop", "--seeds", "1", "--set", "train.steps=3",
             "--set", "evaluate.text.suites=[algorithmic]", "--set", "evaluate.text.max_new_tokens=2")  # fmt: skip
    first = trmctl("ladder", "run", *short)
    assert first.code == 0, first.err
    assert "rung 1 of 1: shared_loop, seed 0" in first.err
    assert "not shown: C1, C2, C3, C4 not measured; 0 of the 3 seeds that a claim needs" in first.out
    assert (tmp_path / "runs/tiny/ladder.html").is_file()
    whole = trmctl("ladder", "report", "-c", tiny, *short[4:], "-o", "json")
    assert len(json.loads(whole.out)["missing"]) == len(VARIANTS) - 1


def test_a_report_from_a_store_needs_one(trmctl: Run, tiny: str) -> None:
    nowhere = trmctl("ladder", "report", "-c", tiny, "--fetch")
    assert nowhere.code == 2
    assert "storage.remote" in nowhere.err


def test_a_ladder_is_one_workflow_for_all_rungs(trmctl: Run) -> None:
    cluster = FakeCluster("team", PYTORCHJOB, WORKFLOW, WORKFLOW_TEMPLATE)
    cluster.put(WORKFLOW_TEMPLATE, {"metadata": {"name": "trm-ladder"}})
    config = str(Path(__file__).parents[2] / "configs/ladder-nano.yaml")
    rungs = ("--variants", "baseline,act", "--seeds", "2")
    result = trmctl(
        "ladder", "submit", "-c", config, *rungs, "--set", "storage.remote=s3://bucket/runs", cluster=cluster
    )
    assert result.code == 0, result.err
    workflow = cluster.see(WORKFLOW, cluster.names(WORKFLOW)[0])
    points = next(one for one in workflow["spec"]["arguments"]["parameters"] if one["name"] == "points")
    assert [json.loads(one) for one in json.loads(points["value"])][1] == ["model.variant=act", "seed=0"]
    assert len(json.loads(points["value"])) == 4
    wrong = trmctl("ladder", "submit", "-c", config, "--variants", "actt", cluster=cluster)
    assert wrong.code == 2
    assert "did you mean 'act'?" in wrong.err
    assert "model.family is trm" in trmctl("ladder", "run").err


@pytest.mark.full
def test_a_ladder_of_all_rungs_is_trained_scored_and_answered(trmctl: Run, tiny: str, tmp_path: Path) -> None:
    result = trmctl("ladder", "run", "-c", tiny, "--seeds", "1")
    assert result.code == 0, result.err
    answer = json.loads((tmp_path / "runs/tiny/report.json").read_bytes())
    assert answer["missing"] == []
    assert [row["variant"] for row in answer["rungs"]] == list(VARIANTS)
    for row in answer["rungs"]:
        assert row["measured"]["flops"] > 0
        assert 0 < row["measured"]["bits_per_byte"] < 10
    assert all(row["verdict"] for row in answer["rungs"] if row["variant"] != "baseline")
    for file in tmp_path.glob("runs/tiny/*/results_self_test.json"):
        assert json.loads(file.read_bytes())["self_test"]["passed"], file
    pages = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/tiny/*/results_all.json")}
    again = trmctl("ladder", "run", "-c", tiny, "--seeds", "1")
    assert again.code == 0
    assert {path: path.stat().st_mtime_ns for path in pages} == pages
