"""The answer of a ladder, from what its runs left behind."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.report.ladder import report
from trmkit.errors import DataError, SpecError
from trmkit.ladder import VARIANTS, Rung, rungs, settings, variants_of
from trmkit.spec.load import load
from trmkit.store.layout import RunDirectory

CONFIG = """\
name: small
model: {{family: ladder, size: pico, segment: 16}}
data: {{source: curriculum, seq_len: 64, tasks: [parity, copy]}}
train: {{tokens: 10000, batch_size: 8}}
storage: {{path: {runs}}}
"""
CONDITIONS = [("parity", "8 bits", True, 8), ("parity", "32 bits", False, 32), ("copy", "8", True, 8),
              ("copy", "16", False, 16)]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "ladder.yaml"
    file.write_text(CONFIG.format(runs=tmp_path / "runs"))
    return file


def leave(config: Path, rung: Rung, shares: tuple[float, float], *, seconds: float = 60.0, **more: Any) -> Path:
    """Leave behind what a run of a rung does; `shares` are right in and out of distribution."""
    directory = RunDirectory.of(load(config, settings(rung)))
    directory.root.mkdir(parents=True)
    lines = [{"kind": "train", "step": step, "seconds": seconds * step / 20, "flops": 1e9 * more.get("work", 1),
              "tokens": step * 512, "progress": step / 20, "rows_per_second": 1.0} for step in (10, 20)]  # fmt: skip
    directory.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines[: more.get("lines", 2)]))
    draw = np.random.default_rng([rung[1], VARIANTS.index(rung[0])])
    conditions = []
    for task, name, iid, length in CONDITIONS:
        right = draw.random(200) < shares[0 if iid else 1]
        conditions.append({"task": task, "condition": name, "iid": iid, "length": length, "n": 200,
                           "accuracy": float(right.mean()),
                           "right": "".join("01"[int(one)] for one in right)})  # fmt: skip
    inside, outside = ([one for one in conditions if one["iid"] is iid] for iid in (True, False))
    mean = lambda found: sum(one["accuracy"] for one in found) / len(found)  # noqa: E731
    results: dict[str, Any] = {
        "meta": {"model": {"parameters": 1000}, "status": "complete", "which": more.get("which", "last")},
        "algorithmic": {
            "conditions": conditions, "iid_accuracy": mean(inside), "ood_accuracy": mean(outside),
            "per_task_iid": {one["task"]: one["accuracy"] for one in inside},
            "per_task_ood": {one["task"]: one["accuracy"] for one in outside},
        },
        "ppl": {"perplexity": 3.0, "bits_per_byte": more.get("bits", 1.5),
                "repetition": {"generated": more.get("repeats", 0.1), "reference": 0.05}},
        "depth": {"rounds": [{"rounds": 1, "overall_accuracy": 0.2}, {"rounds": 4, "overall_accuracy": 0.5}]},
    }  # fmt: skip
    directory.results("all").write_text(json.dumps(results))
    directory.environment.write_text(json.dumps({"commit": "abc", "device": {"type": "cpu", "name": "x"}}))
    return directory.root


def answer(config: Path, variants: str, seeds: int) -> dict[str, Any]:
    wanted = rungs(load(config), variants_of(variants, config), seeds)
    report(config, [], wanted, None, "json")
    found: dict[str, Any] = json.loads((config.parent / "runs/small/report.json").read_text())
    return found


def row(found: dict[str, Any], variant: str) -> dict[str, Any]:
    return next(one for one in found["rungs"] if one["variant"] == variant)


def statuses(found: dict[str, Any], variant: str) -> list[str]:
    return [check["status"] for check in row(found, variant)["criteria"].values()]


def ladder(config: Path, shares: dict[str, tuple[float, float]], seeds: Sequence[int] = (0, 1, 2), **more: Any) -> None:
    for seed in seeds:
        for variant, share in shares.items():
            leave(config, (variant, seed), share, **(more if variant != "baseline" else {}))


def test_a_rung_that_shows_all_four_wins(config: Path) -> None:
    ladder(config, {"baseline": (0.5, 0.2), "latent": (0.8, 0.5)}, seconds=90.0)
    found = answer(config, "baseline,latent", 3)
    assert statuses(found, "latent") == ["met"] * 4
    assert row(found, "latent")["verdict"] == "wins: all four met"
    assert row(found, "latent")["measured"]["time"] == pytest.approx(1.5)
    assert row(found, "latent")["measured"]["parity_32"] == pytest.approx(0.5, abs=0.1)


def test_what_the_interval_leaves_open_is_not_shown(config: Path) -> None:
    ladder(config, {"baseline": (0.5, 0.3), "shared_loop": (0.5, 0.3)})
    found = answer(config, "baseline,shared_loop", 3)
    assert statuses(found, "shared_loop")[1] == "not shown"
    assert row(found, "shared_loop")["verdict"].startswith("not shown: the interval of")


def test_a_win_needs_three_seeds(config: Path) -> None:
    ladder(config, {"baseline": (0.5, 0.2), "latent": (0.8, 0.5)}, seeds=(0,))
    found = answer(config, "baseline,latent", 1)
    assert row(found, "latent")["verdict"] == "not shown: all four met, but 1 of the 3 seeds that a claim needs"


@pytest.mark.parametrize(
    ("more", "place"),
    [({"seconds": 130.0}, 2), ({"bits": 1.7}, 3), ({"repeats": 0.3}, 3)],
    ids=["time", "bits per byte", "repetition"],
)
def test_a_rung_that_is_slow_or_writes_worse_does_not_win(config: Path, more: dict[str, Any], place: int) -> None:
    ladder(config, {"baseline": (0.5, 0.2), "latent": (0.8, 0.5)}, **more)
    found = answer(config, "baseline,latent", 3)
    assert statuses(found, "latent")[place] == "not met"
    assert row(found, "latent")["verdict"] == f"does not win: C{place + 1} not met"


def test_a_part_of_a_ladder_is_read_and_what_is_missing_is_named(config: Path) -> None:
    leave(config, ("baseline", 0), (0.5, 0.2))
    leave(config, ("latent", 0), (0.5, 0.2))
    leave(config, ("latent", 1), (0.5, 0.2), lines=1)
    found = answer(config, "baseline,latent,act", 2)
    assert [(one["variant"], one["seed"], one["state"]) for one in found["missing"]] == [
        ("act", 0, "not trained"), ("baseline", 1, "not trained"), ("latent", 1, "unfinished"),
        ("act", 1, "not trained"),
    ]  # fmt: skip
    assert row(found, "act")["measured"] is None
    assert row(found, "latent")["seeds"] == [0]
    text = (config.parent / "runs/small/report.md").read_text()
    assert "**Missing:** act seed 0 (not trained)" in text


def test_without_a_baseline_nothing_is_claimed(config: Path) -> None:
    leave(config, ("latent", 0), (0.9, 0.9))
    found = answer(config, "baseline,latent", 1)
    assert statuses(found, "latent") == ["not measured"] * 4
    assert row(found, "latent")["verdict"].startswith("not shown: C1, C2, C3, C4 not measured")


def test_a_rung_is_compared_with_its_parent_too(config: Path) -> None:
    ladder(config, {"baseline": (0.5, 0.2), "latent": (0.6, 0.3), "act": (0.9, 0.8)})
    found = answer(config, "baseline,latent,act", 3)
    assert row(found, "act")["parent"]["name"] == "latent"
    assert row(found, "act")["parent"]["C2"]["mean"] == pytest.approx(0.5, abs=0.1)


def test_the_page_shows_hypothesis_beside_measurement_and_every_curve(config: Path) -> None:
    ladder(config, {"baseline": (0.5, 0.2), "latent": (0.8, 0.5)})
    answer(config, "baseline,latent", 3)
    page = (config.parent / "runs/small/ladder.html").read_text()
    assert page.count("<svg") == 5  # two tasks by length, depth, two by compute
    assert "(80.0 %)" in page
    assert "wins: all four met" in page
    markdown = (config.parent / "runs/small/report.md").read_text()
    assert "| rung | seeds | algorithmic |" in markdown


def test_what_is_not_of_the_last_checkpoint_or_not_complete_is_unfinished(config: Path) -> None:
    leave(config, ("baseline", 0), (0.5, 0.2))
    leave(config, ("latent", 0), (0.5, 0.2), which="best")
    assert answer(config, "baseline,latent", 1)["missing"] == [{"variant": "latent", "seed": 0, "state": "unfinished"}]


def test_times_of_different_devices_are_not_compared(config: Path) -> None:
    ladder(config, {"baseline": (0.5, 0.2), "latent": (0.8, 0.5)})
    other = RunDirectory.of(load(config, settings(("latent", 1)))).environment
    other.write_text(json.dumps({"commit": "abc", "device": {"type": "cuda", "name": "y"}}))
    found = answer(config, "baseline,latent", 3)
    assert statuses(found, "latent") == ["met", "met", "not measured", "met"]
    assert "Not all runs were made on the same device" in (config.parent / "runs/small/report.md").read_text()


def test_other_items_or_another_grid_are_refused(config: Path) -> None:
    leave(config, ("baseline", 0), (0.5, 0.2))
    file = RunDirectory(leave(config, ("latent", 0), (0.5, 0.2))).results("all")
    results = json.loads(file.read_bytes())
    results["algorithmic"]["conditions"][0]["right"] = "0101"
    file.write_text(json.dumps(results))
    with pytest.raises(DataError, match="parity 8 bits: runs were scored on different items"):
        answer(config, "baseline,latent", 1)
    results["meta"]["grid_version"] = "0"
    file.write_text(json.dumps(results))
    with pytest.raises(DataError, match="different versions of the grid"):
        answer(config, "baseline,latent", 1)


def test_all_rungs_are_those_that_a_size_has(config: Path) -> None:
    assert variants_of("all", config) == VARIANTS
    assert variants_of("all", config, ["model.size=350M"]) == VARIANTS[:-1]
    assert variants_of("all", config, ["model.size=1B-16k"]) == ("baseline", "shared_loop", "latent", "act")
    with pytest.raises(SpecError, match="model.siz"):
        variants_of("all", config, ["model.siz=nano"])


def test_nothing_trained_and_no_ladder_are_said(config: Path) -> None:
    with pytest.raises(DataError, match="no rung of .* has been trained"):
        report(config, [], rungs(load(config), VARIANTS, 1), None, "table")
    with pytest.raises(SpecError, match="there is no 'latnt'; did you mean 'latent'"):
        variants_of("baseline,latnt", config)
    with pytest.raises(SpecError, match=r"model\.family is trm"):
        rungs(load("configs/arc-demo.yaml"), VARIANTS, 1)


def test_every_rung_gets_the_same_run_but_for_variant_and_seed(config: Path) -> None:
    runs = [load(config, settings(rung)) for rung in rungs(load(config), VARIANTS, 2)]
    assert len({RunDirectory.of(run).root for run in runs}) == 14
    assert (
        len({json.dumps(run.model_dump(mode="json", exclude={"seed": True, "model": {"variant"}})) for run in runs})
        == 1
    )
