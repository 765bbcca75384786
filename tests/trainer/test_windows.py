"""Windows: ARC rows worked on in the part of their canvas that their task needs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.helpers import change, final_state, fingerprint, train_alone
from trainer import checkpoint, flops
from trainer.candidates import find_checkpoint, load_for_inference
from trainer.data import build, place_of
from trainer.data.cutting import cut, on_canvas
from trainer.data.expect import expected
from trainer.data.feed import parts_of
from trainer.data.grid import decode
from trainer.data.manifest import Grid
from trainer.data.store import Split, read_identifiers, read_split
from trainer.data.stream import Rows
from trainer.data.window import sides, slots_of
from trainer.data.windowed import Windowed
from trainer.describe import description
from trainer.dist import World
from trainer.evaluate import evaluate
from trainer.inference import Solver
from trainer.known import sides_of
from trainer.models import build as build_model
from trainer.models.base import Step
from trainer.models.layers import RotaryPositions
from trainer.puzzles.arc import ArcPuzzles
from trainer.solve import Plan, solve
from trainer.state import make_model
from trmkit.errors import CheckpointError, SpecError
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

CPU = torch.device("cpu")
CANVAS = 10
SIZES = {"small": (2, 3), "middle": (5, 6), "large": (9, 4)}
"""Input and output sides of the pairs of each task, before turns."""


def pair(height: int, width: int, number: int) -> dict[str, Any]:
    grid = [[(row * width + column + number) % 10 for column in range(width)] for row in range(height)]
    return {"input": grid, "output": [row[::-1] for row in grid]}


def task(height: int, width: int) -> dict[str, Any]:
    pairs = [pair(height, width, number) for number in range(4)]
    return {"train": pairs[:3], "test": pairs[3:]}


@pytest.fixture
def run(tmp_path: Path) -> RunFile:
    """Return a run on tasks of three sizes, of which one has a held-out answer that is larger than all it shows."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, size in SIZES.items():
        (folder / f"{name}.json").write_text(json.dumps(task(*size)))
    surprising = task(2, 2)
    surprising["test"][0]["output"] = [[1] * 9] * 9
    (folder / "surprising.json").write_text(json.dumps(surprising))
    text = f"""
name: windows
model: {{family: trm, hidden_size: 16, num_heads: 2, H_cycles: 1, L_cycles: 1, halt_max_steps: 2, L_layers: 1,
        puzzle_emb_ndim: 16, puzzle_emb_len: 1, forward_dtype: float32}}
data: {{source: arc, collections: ["{folder}"], test: "{folder}", canvas: {CANVAS}, num_aug: 3, window: fitted}}
train: {{steps: 8, batch_size: 8, warmup_steps: 2, lr: 1e-2, threads: 1, device: cpu,
        checkpoint: {{every_steps: 4, every_minutes: null, keep: 9}}, log: {{every_steps: 4}}}}
evaluate: {{examples: 3, fit_sample: 4, every_steps: null}}
storage: {{path: "{tmp_path / "runs"}", data: "{tmp_path / "data"}"}}
"""
    return loads(text, "windows.yaml")


@pytest.fixture
def split_of(run: RunFile) -> Callable[[str], Split]:
    return lambda name: read_split(build(run.data, Path(run.storage.data)), name)


def test_a_window_holds_all_that_is_trained_on_and_every_question_and_knows_nothing_of_held_out_answers(
    split_of: Callable[[str], Split],
) -> None:
    assert sides(CANVAS) == (4, 5, 7, 8, 10)
    for name in ("train", "test"):
        split = split_of(name)
        assert split.windows is not None
        assert sorted(split.windows.tolist()) == [4, 4, 7, 10]
    assert split_of("train").metadata.windows == ((4, 6), (7, 3), (10, 3))


@pytest.mark.parametrize("layout", ["edges", "corners"])
def test_no_training_row_loses_anything_by_its_window(run: RunFile, layout: str) -> None:
    section = change(run, f"data.layout={layout}").data
    split = read_split(build(section, Path(run.storage.data)), "train")
    batch = Rows(split, CPU, on_device=False).get(torch.arange(len(split)))
    assert split.row_windows is not None
    for side in np.unique(split.row_windows):
        rows = torch.from_numpy(np.flatnonzero(split.row_windows == side))
        whole = {name: value[rows] for name, value in batch.items()}
        window = cut(whole, int(side))
        assert window["inputs"].shape == window["positions"].shape == (len(rows), side * side)
        assert torch.equal(on_canvas(window["inputs"], window["positions"], whole["inputs"]), whole["inputs"])
        assert torch.equal(
            on_canvas(window["labels"].clamp(min=0), window["positions"], whole["labels"]), whole["labels"].clamp(min=0)
        )


def test_a_cell_of_a_window_has_the_place_it_has_on_the_canvas() -> None:
    rotary = RotaryPositions(CANVAS**2, 8, 10_000.0)
    x = torch.randn(2, CANVAS**2, 2, 8)
    places = torch.stack([torch.arange(40, 60), torch.arange(3, 83, 4)])
    taken = torch.stack([row[place] for row, place in zip(x, places, strict=True)])
    expected = torch.stack([row[place] for row, place in zip(rotary(x), places, strict=True)])
    assert torch.equal(rotary.at(places)(taken), expected)


@pytest.mark.parametrize("encodings", ["rope", "learned"])
def test_a_window_as_large_as_the_canvas_is_the_canvas(
    run: RunFile, split_of: Callable[[str], Split], encodings: str
) -> None:
    split, cfg = split_of("test"), change(run, f"model.pos_encodings={encodings}").model
    model = build_model(cfg, split.metadata.vocab_size, CANVAS**2, split.metadata.num_puzzle_identifiers).eval()
    batch = Rows(split, CPU, on_device=False).get(torch.arange(len(split)))
    whole, window = model(None, batch), model(None, cut(batch, CANVAS))
    assert torch.equal(whole.outputs["logits"], window.outputs["logits"])
    assert torch.equal(whole.loss, window.loss)


def test_slots_are_shared_out_by_the_rows_of_each_window_and_none_is_left_out() -> None:
    assert slots_of(((10, 60), (20, 30), (30, 10)), 96) == {10: 60, 20: 28, 30: 8}
    assert slots_of(((10, 990), (30, 10)), 4) == {10: 3, 30: 1}
    with pytest.raises(SpecError, match="2 windows cannot share a batch of 1 rows"):
        slots_of(((10, 990), (30, 10)), 1)


def test_every_window_goes_through_its_rows_once_an_epoch(
    run: RunFile, split_of: Callable[[str], Split], alone: World
) -> None:
    split = split_of("train")
    for lane in Windowed(split, run, alone, on_device=False).lanes:
        rows = next(count for side, count in split.metadata.windows if side == lane.side)
        seen: list[int] = []
        while len(seen) < rows:
            seen += lane.source.next(None)["puzzle_identifiers"].tolist()
        assert lane.side is not None
        assert lane.source.next(None)["inputs"].shape == (lane.slots, lane.side**2)
        assert len(set(seen[:rows])) == rows // 3  # one variant of every task, with its three pairs


class Half(World):
    """One of two processes that are told what the other one's slots do."""

    halted: torch.Tensor

    def gather_rows(self, part: torch.Tensor) -> torch.Tensor:
        return self.halted


def test_two_processes_work_on_the_rows_of_one_with_the_draws_of_one(
    run: RunFile, split_of: Callable[[str], Split], alone: World
) -> None:
    run = change(run, "train.batch_size=64", "train.accumulate=2")
    split, worlds = split_of("train"), [Half(rank, 2, rank, CPU) for rank in range(2)]
    one, *halves = (Windowed(split, run, world, on_device=False) for world in (alone, *worlds))
    numbers = [part.numbers for rank in range(2) for part in parts_of(one.lanes, rank, 2, 2)]
    assert sorted(n for part in numbers for n in range(part.start, part.stop)) == list(range(64))
    for index, lane in enumerate(one.lanes):
        halted = torch.arange(lane.slots) % 3 > 0
        for world in worlds:
            object.__setattr__(world, "halted", halted)
        for _ in range(4):
            expected = lane.source.next(halted)
            found = [
                half.lanes[index].source.next(halted[world.rows(lane.slots)])
                for half, world in zip(halves, worlds, strict=True)
            ]
            for name, value in expected.items():
                assert torch.equal(torch.cat([part[name] for part in found])[halted], value[halted])


@pytest.mark.parametrize("override", ["train.accumulate=1", "train.batch_size=32", "data.translate=false"])
def test_a_run_in_windows_goes_on_exactly(run: RunFile, tmp_path: Path, override: str) -> None:
    whole = change(run, override)
    train_alone(whole)
    parted = change(whole, f"storage.path={tmp_path / 'parted'}")
    train_alone(parted)
    root = RunDirectory.of(parted).checkpoints
    for step in checkpoint.steps(root):
        if step > 4:
            (root / f"step_{step:08d}" / checkpoint.MANIFEST).unlink()
    train_alone(parted)
    assert fingerprint(root) == fingerprint(RunDirectory.of(whole).checkpoints)


def test_parts_of_a_batch_change_nothing_but_the_order_of_sums(run: RunFile, tmp_path: Path) -> None:
    whole = change(run, "train.batch_size=64", "train.steps=2")
    expected = final_state(whole)
    found = final_state(change(whole, "train.accumulate=2", f"storage.path={tmp_path / 'parts'}"))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-3, atol=2e-4)


def test_answers_are_judged_on_their_canvas_and_one_that_does_not_fit_is_wrong(
    run: RunFile, split_of: Callable[[str], Split], alone: World
) -> None:
    split = split_of("test")
    rows = np.arange(len(split))

    class Oracle(torch.nn.Module):
        """Answers what it is asked for, as far as it sees it."""

        calls_per_update, max_steps, latent_names = 1, 1, ()

        def begin(self, batch: Any) -> None:
            return None

        def __call__(self, carry: Any, batch: Any) -> Any:
            preds = batch["labels"].clamp(min=0)
            return Step(torch.zeros(()), None, {"preds": preds, "q_halt": torch.zeros(len(preds))}, {})

    found = solve(Oracle(), Rows(split, CPU, on_device=False), rows, Plan(1, 3), alone, show=rows, check=lambda: None)  # type: ignore[arg-type]
    assert split.row_windows is not None
    fits = np.array([(np.asarray(split.labels[row]).reshape(CANVAS, CANVAS)[4:] == 0).all() for row in rows])
    right = (split.row_windows > 4) | fits
    assert found.exact[:, 0].tolist() == right.tolist()
    assert 0 < right.sum() < len(right)
    for row in rows[right]:
        assert found.predictions[row].tolist() == np.asarray(split.labels[row]).tolist()


def test_a_run_in_windows_is_scored_whole(run: RunFile, alone: World) -> None:
    train_alone(run)
    found = evaluate(run, RunDirectory.of(run), alone)
    assert found["sets"]["test"]["count"] == 4 * (len(SIZES) + 1)


def test_a_model_that_learned_in_windows_answers_what_its_evaluation_answered(
    run: RunFile, split_of: Callable[[str], Split], alone: World, tmp_path: Path
) -> None:
    train_alone(run)
    split, directory = split_of("test"), RunDirectory.of(run)
    names = read_identifiers(build(run.data, Path(run.storage.data)))
    model = make_model(run, split.metadata, CPU)
    load_for_inference(model, find_checkpoint(directory, "last"))
    rows = np.arange(len(split))
    solved = solve(model, Rows(split, CPU, on_device=False), rows, Plan(2, 3), alone, show=rows, check=lambda: None)
    shutil.rmtree(run.storage.data)
    solver = Solver.load(directory.root)
    for name in (*SIZES, "surprising"):
        text = (tmp_path / "tasks" / f"{name}.json").read_text()
        [answer] = solver.solve(text, name=f"{name}.json", votes=1)
        row = int(np.flatnonzero(split.row_identifiers == names.index(name))[0])
        assert answer.cells == decode(solved.predictions[row].astype(np.uint8)).tolist()
        assert answer.confidence == pytest.approx(1 / (1 + np.exp(-solved.q_halt[row, -1])), rel=1e-5)
        assert solver.solve(text, name=f"{name}.json", votes=4)[0].cells


def test_a_question_has_its_tasks_window_or_one_that_holds_it(run: RunFile) -> None:
    build(run.data, Path(run.storage.data))
    folder = place_of(run.data, Path(run.storage.data))
    known = sides_of(folder)
    assert known == {"small": 4, "middle": 7, "large": 10, "surprising": 4}
    puzzles = ArcPuzzles(Grid("arc", CANVAS, CANVAS, "edges"), read_identifiers(folder), sides=known)

    def side(name: str, content: dict[str, Any]) -> int | None:
        return puzzles.read(json.dumps(content), name, 1)[0].side

    assert [side(name, task(*size)) for name, size in SIZES.items()] == [4, 7, 10]
    assert side("small", {"test": [{"input": [[1] * 6] * 6}]}) == 7
    assert side("new", task(3, 5)) == 7
    assert side("new", {"test": [{"input": [[1] * 2] * 2}]}) == 4


def test_a_run_directory_that_does_not_know_its_windows_says_how_it_comes_to_know_them(run: RunFile) -> None:
    train_alone(run)
    directory = RunDirectory.of(run)
    content = json.loads(directory.data_manifest.read_text())
    del content["sides"]
    directory.data_manifest.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="in which window each task") as refused:
        Solver.load(directory.root)
    assert "it writes the file" in refused.value.next


def test_windows_and_what_they_save_are_foretold_before_anything_is_built(run: RunFile) -> None:
    foretold = description(run)
    whole = description(change(run, "data.window=full"))
    build(run.data, Path(run.storage.data))
    assert not foretold["data"]["built"]
    assert description(run)["flops"] == foretold["flops"]
    data = expected(run.data, Path(run.storage.data))[0]
    shares = slots_of(data.windows, run.train.batch_size)
    assert shares == {4: 4, 7: 2, 10: 2}
    each = {side: flops.of_a_row(run.model, side**2, data.vocab_size, data.num_puzzle_identifiers) for side in shares}
    assert foretold["flops"]["per_sample"] == sum(each[side] * count for side, count in shares.items()) // 8
    assert foretold["flops"]["per_sample"] < 0.6 * whole["flops"]["per_sample"]


@pytest.mark.parametrize("override", ["model.mlp_t=true", "model={family: deep_recursion}"])
def test_a_model_that_sees_whole_canvases_only_is_refused_windows(run: RunFile, override: str) -> None:
    with pytest.raises(SpecError, match=r"data\.window: .* works on all of a canvas"):
        change(run, override)


def test_a_batch_that_cannot_be_divided_is_refused(
    run: RunFile, split_of: Callable[[str], Split], alone: World
) -> None:
    with pytest.raises(SpecError, match="cannot be divided over 1 processes in 4 parts"):
        Windowed(split_of("train"), change(run, "train.accumulate=4"), alone, on_device=False)
