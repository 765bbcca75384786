"""Whether a checkpoint belongs to a run: what it was made by, and whether its weights fit."""

from typing import Any

import torch
from torch import Tensor

from trainer.checkpoint import Checkpoint, understood
from trainer.moments import kind_of
from trainer.sharding import fill
from trmkit.errors import CheckpointError
from trmkit.spec.base import section_hash
from trmkit.spec.run import RunFile


def made_by(run: RunFile, reader: str) -> dict[str, str]:
    """Return what must be the same for a checkpoint to be gone on with; `reader` is who read its text, if any."""
    names = {"model": section_hash(run.model), "data": section_hash(run.data), "seed": str(run.seed)}
    names |= {"features": f"{section_hash(run.features)} {reader}"} if run.features is not None else {}
    return names | {"train.optimizer": run.train.optimizer}


def refuse_another_reader(run: RunFile, reader: str, checkpoint: Checkpoint) -> None:
    """CheckpointError: `checkpoint` learned from texts that another reader than this one read."""
    with understood(checkpoint):
        made = {name: value for name, value in made_by(run, reader).items() if name == "features"}
        refuse_what_differs(made, checkpoint.json("state.json") if made else {}, checkpoint)


def refuse_what_differs(made: dict[str, str], state: dict[str, Any], checkpoint: Checkpoint) -> None:
    """CheckpointError: what `checkpoint` was made by, in its `state`, is not what it should be, `made`."""
    wrong = [name for name, value in made.items() if state["made_by"].get(name) != value]
    if wrong:
        raise CheckpointError(
            f"{checkpoint.path}: was made with another {', '.join(wrong)}",
            next="use the run file that it was made with, or another name to start anew",
        )


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], checkpoint: Checkpoint) -> None:
    """Load `tensors` into `model`. CheckpointError: names or shapes are another model's."""
    wanted = {name: kind_of(value) for name, value in model.state_dict().items()}
    found = {name: kind_of(value) for name, value in tensors.items()}
    if wanted != found:
        differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise CheckpointError(
            f"{checkpoint.path}: belongs to another model; {differing[0]} is {found.get(differing[0], 'missing')}"
            f" instead of {wanted.get(differing[0], 'absent')}, and {len(differing) - 1} more differ",
            next="use the run file that the checkpoint was made with",
        )
    for name, value in model.state_dict().items():
        fill(value, tensors[name])
