"""A run that starts from another one: what is taken over, what stands still at first, and what is written down."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.helpers import change, fingerprint, train_alone
from trainer import checkpoint
from trainer.data import place_of
from trainer.data.store import read_identifiers
from trainer.known import find_known
from trainer.transfer import TABLE, import_reference, reference_weights
from trmkit.errors import CheckpointError, SpecError
from trmkit.spec.load import loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory, run_id
from trmkit.store.local import sha256

STEPS, FROZEN = 8, 4


@pytest.fixture
def arc_run(small_run: RunFile, tmp_path: Path) -> Callable[..., RunFile]:
    """Function from names of tasks to a small run on them; every task is the same but for its numbers."""

    def make(*tasks: str, keys: tuple[str, ...] = ()) -> RunFile:
        folder = tmp_path / "-".join(tasks)
        folder.mkdir(exist_ok=True)
        for name in tasks:
            start = ord(name[0])
            grids = [[[(start * k + i * j + k) % 10 for j in range(3)] for i in range(2)] for k in range(1, 7)]
            pairs = [{"input": x, "output": y} for x, y in zip(grids[::2], grids[1::2], strict=True)]
            (folder / f"{name}.json").write_text(json.dumps({"train": pairs[:2], "test": pairs[2:]}))
        text = f"""
name: tuned
model: {small_run.model.model_dump_json()}
data: {{source: arc, collections: ["{folder}"], test: "{folder}", canvas: 4, num_aug: 5}}
train: {{steps: {STEPS}, batch_size: 4, warmup_steps: 1, lr: 1e-3, threads: 1, device: cpu,
        checkpoint: {{every_steps: 1, every_minutes: null, keep: 99}}, log: {{every_steps: 2}}}}
storage: {{path: {tmp_path}/runs, data: {tmp_path}/data}}
"""
        return loads(text, "tuned.yaml", keys)

    return make


def weights(run: RunFile, step: int, name: str = "model") -> dict[str, Tensor]:
    found = checkpoint.verify(RunDirectory.of(run).checkpoints / f"step_{step:08d}")
    return found.tensors(f"{name}.safetensors")


def without_table(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name != TABLE}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def trained(make: Callable[..., RunFile], *tasks: str) -> RunFile:
    run = make(*tasks)
    train_alone(run)
    return run


def tuned(make: Callable[..., RunFile], old: RunFile, *tasks: str, more: tuple[str, ...] = ()) -> RunFile:
    keys = (f"train.init_from={RunDirectory.of(old).root}", f"train.freeze.trunk_steps={FROZEN}", *more)
    return make(*tasks, keys=keys)


def test_a_run_keeps_what_its_checkpoints_need(arc_run: Callable[..., RunFile], small_run: RunFile) -> None:
    run = trained(arc_run, "a", "b")
    known = find_known(RunDirectory.of(run).root)
    assert known.names == read_identifiers(place_of(run.data, Path(run.storage.data)))
    assert (known.grid.kind, known.grid.height, known.metadata.vocab_size) == ("arc", 4, 12)
    assert known.checkpoint.step == STEPS
    train_alone(small_run)
    directory = RunDirectory.of(small_run)
    assert not directory.identifiers.exists()
    one = find_known(directory.checkpoints / "step_00000008")
    assert (one.names, one.checkpoint.step, one.directory.root) == (["<blank>"], 8, directory.root.resolve())


def test_rows_of_the_table_go_by_name_and_new_ones_start_as_the_mean(arc_run: Callable[..., RunFile]) -> None:
    old = trained(arc_run, "a", "b")
    new = tuned(arc_run, old, "b", "c", more=("train.puzzle_emb_lr=0.0",))
    train_alone(new)
    before = weights(old, STEPS)[TABLE]
    place = {name: row for row, name in enumerate(find_known(RunDirectory.of(old).root).names)}
    names = find_known(RunDirectory.of(new).root).names
    assert {name.split("|||")[0] for name in names[1:]} == {"b", "c"}
    for name, row in zip(names, weights(new, 1)[TABLE], strict=True):
        torch.testing.assert_close(row, before[place[name]] if name in place else before[1:].mean(0), rtol=1e-6, atol=0)


def test_the_trunk_stands_still_while_it_is_frozen_and_then_learns(arc_run: Callable[..., RunFile]) -> None:
    old = trained(arc_run, "a", "b")
    new = tuned(arc_run, old, "b", "c")
    train_alone(new)
    averages = weights(old, STEPS, "ema")
    for step in (1, FROZEN):
        assert equal(weights(new, step, "ema"), averages)
        assert all(torch.equal(weights(new, step)[name], value) for name, value in averages.items())
        assert weights(new, step, "optimizer") == {}
    assert not torch.equal(weights(new, FROZEN)[TABLE], weights(new, 1)[TABLE])
    after = weights(new, FROZEN + 1)
    assert not any(torch.equal(after[name], value) for name, value in averages.items())
    state = checkpoint.verify(RunDirectory.of(new).checkpoints / f"step_{STEPS:08d}").json("state.json")
    assert set(state["optimizer"].values()) == {STEPS - FROZEN}


@pytest.mark.parametrize("optimizer", ["adam_atan2", "adamw"])
def test_stopping_around_the_end_of_the_frozen_part_changes_no_byte(
    arc_run: Callable[..., RunFile], tmp_path: Path, optimizer: str
) -> None:
    old = trained(arc_run, "a", "b")
    whole = tuned(arc_run, old, "b", "c", more=(f"train.optimizer={optimizer}",))
    train_alone(whole)
    for step in (FROZEN - 1, FROZEN, FROZEN + 1):
        run = change(whole, f"storage.path={tmp_path / f'stopped{step}'}")
        train_alone(run)
        root = RunDirectory.of(run).checkpoints
        for later in range(step + 1, STEPS + 1):
            (root / f"step_{later:08d}" / checkpoint.MANIFEST).unlink()
        train_alone(run)
        assert fingerprint(root) == fingerprint(RunDirectory.of(whole).checkpoints)


def test_a_started_run_goes_on_when_the_other_is_gone(arc_run: Callable[..., RunFile], tmp_path: Path) -> None:
    old = trained(arc_run, "a", "b")
    new = tuned(arc_run, old, "b", "c")
    train_alone(new)
    RunDirectory.of(old).root.rename(tmp_path / "elsewhere")
    (RunDirectory.of(new).checkpoints / f"step_{STEPS:08d}" / checkpoint.MANIFEST).unlink()
    assert train_alone(new) == STEPS


def test_where_a_run_started_from_is_written_down_and_names_another_run(arc_run: Callable[..., RunFile]) -> None:
    old = trained(arc_run, "a", "b")
    new = tuned(arc_run, old, "b", "c")
    train_alone(new)
    found = json.loads(RunDirectory.of(new).started_from.read_text())
    start = RunDirectory.of(old).checkpoints / f"step_{STEPS:08d}"
    assert found == {"path": str(start), "step": STEPS, "sha256": sha256(start / checkpoint.MANIFEST)}
    assert not RunDirectory.of(old).started_from.exists()
    assert len({run_id(arc_run("b", "c")), run_id(new), run_id(change(new, "train.freeze.trunk_steps=0"))}) == 3


def test_an_imported_checkpoint_is_written_down_too(small_run: RunFile, tmp_path: Path) -> None:
    from trainer.dist import World
    from trainer.subject import subject_of
    from trainer.train import build_state

    world = World(0, 1, 0, torch.device("cpu"))
    model = build_state(small_run, subject_of(small_run)(small_run, world), world).model
    file = tmp_path / "theirs.pt"
    torch.save(reference_weights(model), file)
    directory = RunDirectory.of(small_run)
    import_reference(small_run, directory, file)
    found = json.loads(directory.started_from.read_text())
    assert found == {"path": str(file), "step": None, "sha256": sha256(file)}


def test_another_size_is_refused_with_the_first_shape_that_differs(arc_run: Callable[..., RunFile]) -> None:
    old = trained(arc_run, "a", "b")
    wider = tuned(arc_run, old, "b", "c", more=("model.hidden_size=32", "model.puzzle_emb_ndim=32"))
    with pytest.raises(
        CheckpointError, match=r"another model; inner\.H_init is float32 \(16,\) instead of float32 \(32,\)"
    ):
        train_alone(wider)


@pytest.mark.parametrize("path", ["nowhere", "runs"])
def test_a_place_without_a_run_is_refused(small_run: RunFile, tmp_path: Path, path: str) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(CheckpointError, match="is neither a run directory nor the folder of a checkpoint"):
        train_alone(change(small_run, f"train.init_from={tmp_path / path}"))


def test_a_damaged_checkpoint_is_refused(small_run: RunFile) -> None:
    train_alone(small_run)
    directory = RunDirectory.of(small_run)
    step = directory.checkpoints / "step_00000012"
    content = bytearray((step / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (step / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"another SHA-256"):
        train_alone(change(small_run, f"train.init_from={step}", "seed=3"))
    directory.data_manifest.unlink()
    with pytest.raises(CheckpointError, match=r"data\.json: does not say what the run was trained on"):
        train_alone(change(small_run, f"train.init_from={directory.root}", "seed=3"))


def test_freezing_all_there_is_is_refused(small_run: RunFile) -> None:
    with pytest.raises(SpecError, match="there is no puzzle table to learn"):
        change(small_run, "model.puzzle_emb_ndim=0", "model.puzzle_emb_len=0", "train.freeze.trunk_steps=5")


@pytest.mark.parametrize("which", ["run", "checkpoint"])
def test_a_run_starts_from_another_ones_weights_in_a_store(
    arc_run: Callable[..., RunFile], s3: str, tmp_path: Path, which: str
) -> None:
    stored = (f"storage.remote={s3}",)
    old = arc_run("a", "b", keys=stored)
    train_alone(old)
    directory = RunDirectory.of(old)
    address = f"{s3}/{directory.root.parent.name}/{directory.root.name}"
    if which == "checkpoint":
        manifest = (directory.checkpoints / f"step_{STEPS:08d}" / "manifest.json").read_bytes()
        address += f"/checkpoints/step_{STEPS:08d}-{hashlib.sha256(manifest).hexdigest()[:12]}"
    before = weights(old, STEPS, "ema")
    keys = (f"train.init_from={address}", f"storage.path={tmp_path / 'elsewhere'}")
    new = arc_run("a", "b", keys=(*keys, f"train.freeze.trunk_steps={FROZEN}"))
    train_alone(new)
    assert equal(weights(new, 1, "ema"), before)


def test_an_address_that_is_no_run_is_refused(arc_run: Callable[..., RunFile]) -> None:
    with pytest.raises(CheckpointError, match=r"s3://bucket/prefix/NAME/ID"):
        train_alone(arc_run("a", keys=("train.init_from=s3://bucket/only",)))
