"""Loads checkpoints that somebody made to do harm, in a process of its own that watches itself.

`python tests/trainer/hostile.py FOLDER RUN.yaml` tries every folder in FOLDER as the checkpoint of the run, and prints
one JSON object: for each what became of it, and what the interpreter was asked to do meanwhile that it should not be.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from trainer import checkpoint
from trainer.candidates import load_for_inference
from trainer.dist import World
from trainer.subject import subject_of
from trainer.train import build_state
from trmkit.errors import TrmError
from trmkit.spec.load import load

SUSPICIOUS = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.spawn", "socket.connect", "pickle.find_class")
seen: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what loading numbers never needs: other programs, connections, pickle, files written."""
    wrote = event == "open" and isinstance(arguments[1], str) and arguments[1][:1] in "wax"
    if event in SUSPICIOUS or wrote:
        seen.append(f"{event} {arguments[:2]}")


def attempt(path: Path, run: Any, subject: Any, world: World) -> dict[str, Any]:
    """Try one checkpoint as training and evaluation would."""
    started, before, found = time.monotonic(), len(seen), "accepted"
    try:
        whole = checkpoint.verify(path)
        state = build_state(run, subject, world)
        state.restore(whole)
        load_for_inference(state.model, whole)
        state.update()
    except TrmError as error:
        found = f"refused: {error.message}"
    return {"result": found, "seconds": time.monotonic() - started, "did": seen[before:]}


def main(folder: Path, run_file: Path) -> None:
    """Try all, print what happened."""
    torch.set_num_threads(1)
    world = World(0, 1, 0, torch.device("cpu"))
    run = load(run_file)
    subject = subject_of(run)(run, world)
    results = {"": attempt(folder / "good" / "step_00000012", run, subject, world)}  # everything is imported now
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.addaudithook(watch)
    for path in sorted(folder.iterdir()):
        results[path.name] = attempt(path / "step_00000012", run, subject, world)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
    print(json.dumps({"results": results, "grown_mib": grown / 1024}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
