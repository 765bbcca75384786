"""Checkpoints that somebody made to do harm, with manifests that fit them: refused, and nothing of theirs runs."""

import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.helpers import change, train_alone
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.store import manifest as manifests
from trmkit.store.layout import RunDirectory

Attack = Callable[[Path, Path], None]
"""Changes a checkpoint; gets its folder and the file whose existence would show that something ran."""


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def state(**changes: Any) -> Attack:
    """Change keys of state.json."""

    def attack(path: Path, _: Path) -> None:
        content = json.loads((path / "state.json").read_text())
        (path / "state.json").write_text(json.dumps(content | changes))

    return attack


def tensors(name: str, how: Callable[[dict[str, torch.Tensor]], Any]) -> Attack:
    """Change the tensors of a file."""

    def attack(path: Path, _: Path) -> None:
        content = load_file(path / name)
        how(content)
        save_file(content, path / name)

    return attack


def content(name: str, data: bytes | Callable[[Path], bytes]) -> Attack:
    """Replace a file."""

    def attack(path: Path, canary: Path) -> None:
        (path / name).write_bytes(data if isinstance(data, bytes) else data(canary))

    return attack


def manifest(change: Callable[[dict[str, Any]], Any]) -> Attack:
    """Change the manifest after it was made to fit."""

    def attack(path: Path, _: Path) -> None:
        found = json.loads((path / "manifest.json").read_text())
        change(found)
        (path / "manifest.json").write_text(json.dumps(found))

    return attack


def link(name: str, target: str) -> Attack:
    """Put a symbolic link in place of a file."""

    def attack(path: Path, _: Path) -> None:
        (path / name).unlink()
        (path / name).symlink_to(target)

    return attack


def torch_file(canary: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"w": Bomb(canary)}, stream)
    return stream.getvalue()


def zip_bomb(_: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(50 << 20))
    return stream.getvalue()


def numpy_file(canary: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb(canary)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def header(text: str | bytes, length: int | None = None) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def first(found: dict[str, torch.Tensor]) -> str:
    return sorted(name for name, value in found.items() if value.is_floating_point())[0]


ENTRY = '{"w": {"dtype": "F32", "shape": %s, "data_offsets": %s}}'
MODEL, RANK = "model.safetensors", "rank0.safetensors"

ATTACKS: dict[str, Attack] = {
    "pickle in the weights": content(MODEL, lambda canary: pickle.dumps(Bomb(canary))),
    "torch file as the weights": content(MODEL, torch_file),
    "numpy file as the weights": content(MODEL, numpy_file),
    "zip bomb as the weights": content(MODEL, zip_bomb),
    "pickle in the state": content("state.json", lambda canary: pickle.dumps(Bomb(canary))),
    "pickle in the generators": content("rank0.json", lambda canary: pickle.dumps(Bomb(canary))),
    "empty weights": content(MODEL, b""),
    "no header": content(MODEL, b"\x00" * 7),
    "header of 2^63 bytes": content(MODEL, header("{}", 1 << 63)),
    "header longer than the file": content(MODEL, header("{}", 1 << 20)),
    "header of 80 MB": content(MODEL, header(b'{"a":"' + b"x" * (80 << 20) + b'"}')),
    "header nested 100,000 deep": content(MODEL, header("[" * 100_000)),
    "header that is a list": content(MODEL, header("[]")),
    "shape of 2^63": content(MODEL, header(ENTRY % ("[9223372036854775807]", "[0, 4]")) + b"1234"),
    "shape that overflows": content(MODEL, header(ENTRY % ("[4294967296, 4294967296, 4]", "[0, 4]")) + b"1234"),
    "negative shape": content(MODEL, header(ENTRY % ("[-1]", "[0, 4]")) + b"1234"),
    "offsets backwards": content(MODEL, header(ENTRY % ("[1]", "[4, 0]")) + b"1234"),
    "offsets beyond the end": content(MODEL, header(ENTRY % ("[1000]", "[0, 4000]")) + b"1234"),
    "unknown type": content(MODEL, header(ENTRY.replace("F32", "OBJECT") % ("[1]", "[0, 4]")) + b"1234"),
    "a weight missing": tensors(MODEL, lambda found: found.pop(first(found))),
    "a weight too many": tensors(MODEL, lambda found: found.update(extra=torch.zeros(1))),
    "a weight of another shape": tensors(MODEL, lambda found: found.update({first(found): torch.zeros(3)})),
    "a weight of another type": tensors(
        MODEL, lambda found: found.update({first(found): found[first(found)].to(torch.float64)})
    ),
    "a weight of whole numbers": tensors(
        MODEL, lambda found: found.update({first(found): found[first(found)].to(torch.int32)})
    ),
    "an average of another shape": tensors(
        "ema.safetensors", lambda found: found.update({first(found): torch.zeros(2, 2, 2)})
    ),
    "a moment of another shape": tensors(
        "optimizer.safetensors", lambda found: found.update({first(found): torch.zeros(5)})
    ),
    "a moment of whole numbers": tensors(
        "optimizer.safetensors", lambda found: found.update({first(found): found[first(found)].to(torch.int8)})
    ),
    "a moment of nothing": tensors(
        "optimizer.safetensors", lambda found: found.update({"no.such.weight/exp_avg": torch.zeros(5)})
    ),
    "rows being worked on too few": tensors(
        RANK, lambda found: found.update({name: found[name][:1] for name in found if name.startswith("carry/")})
    ),
    "a row without its steps": tensors(RANK, lambda found: found.pop("carry/steps")),
    "rows of another type": tensors(
        RANK, lambda found: found.update({"carry/halted": found["carry/halted"].to(torch.float32)})
    ),
    "a generator's state cut short": tensors(RANK, lambda found: found.update({"rng/torch": found["rng/torch"][:9]})),
    "no generator's state": tensors(RANK, lambda found: found.pop("rng/torch")),
    "state that is a list": content("state.json", b"[]"),
    "state nested 100,000 deep": content("state.json", b"[" * 100_000),
    "state that is not UTF-8": content("state.json", b"\xff\xfe{}"),
    "step of another checkpoint": state(step=11),
    "step that is a word": state(step="12"),
    "step below zero": state(step=-12),
    "place beyond the data": state(stream={"epoch": 0, "offset": 1 << 50}),
    "place before the data": state(stream={"epoch": -1, "offset": 0}),
    "place that is no place": state(stream=None),
    "a billion processes": state(processes=10**9),
    "no processes": state(processes=0),
    "best that is a word": state(best="../../x"),
    "optimizer that is a list": state(optimizer=[]),
    "optimizer of another weight": state(optimizer={"../x/step": 1}),
    "another experiment": state(made_by={}),
    "generators that are words": content("rank0.json", b'{"python": "x", "numpy": "y"}'),
    "no rank file": lambda path, _: (path / "rank0.json").unlink(),
    "name with ..": manifest(lambda found: found["files"].update({"../evil": found["files"]["state.json"]})),
    "absolute name": manifest(lambda found: found["files"].update({"/etc/passwd": found["files"]["state.json"]})),
    "size of 2^62": manifest(lambda found: found["files"]["state.json"].update(bytes=1 << 62)),
    "link to a file": link("state.json", "/etc/passwd"),
    "link to a device": link("state.json", "/dev/zero"),
}
KEEPS_ITS_MANIFEST = ("name with ..", "absolute name", "size of 2^62")


def make(good: Path, path: Path, name: str, canary: Path) -> None:
    """Copy the good checkpoint to `path` and attack it; its manifest fits unless it is what is attacked."""
    shutil.copytree(good, path)
    if name not in KEEPS_ITS_MANIFEST:
        about = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").unlink()
        before = manifests.members(path)
        ATTACKS[name](path, canary)
        files = manifests.members(path) if not any(p.is_symlink() for p in path.iterdir()) else before
        (path / "manifest.json").write_text(manifests.write(about["step"], files, {}))
    else:
        ATTACKS[name](path, canary)


def test_no_hostile_checkpoint_runs_anything_or_is_used(small_run: RunFile, tmp_path: Path) -> None:
    assert len(ATTACKS) >= 40
    run = change(small_run)
    train_alone(run)
    good = RunDirectory.of(run).checkpoints / "step_00000012"
    folder, canary = tmp_path / "hostile", tmp_path / "canary"
    shutil.copytree(good, folder / "good" / "step_00000012")
    for name in ATTACKS:
        make(good, folder / name.replace("/", "_") / "step_00000012", name, canary)
    (tmp_path / "run.yaml").write_text(dump(run))
    command = [sys.executable, str(Path(__file__).with_name("hostile.py")), str(folder), str(tmp_path / "run.yaml")]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(root)}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    results = found["results"]
    assert results.pop("")["result"] == results.pop("good")["result"] == "accepted"
    assert len(results) == len(ATTACKS)
    assert [name for name, one in results.items() if not one["result"].startswith("refused")] == []
    assert {name: one["did"] for name, one in results.items() if one["did"]} == {}
    assert {name: one["seconds"] for name, one in results.items() if one["seconds"] > 5} == {}
    assert found["grown_mib"] < 200 + 2 * 80
    assert not canary.exists()
