"""Which checkpoints of a run are scored, and the weights in them that are."""

from torch import Tensor

from trainer import checkpoint
from trainer.checkpoint import Checkpoint
from trainer.dist import World
from trainer.models import TrainableModel
from trainer.nodes import meet
from trainer.origin import load_weights
from trainer.progress import say
from trmkit.errors import CheckpointError
from trmkit.store.layout import RunDirectory


def on_every_machine(
    directory: RunDirectory, world: World, which: str, ensemble: int | None
) -> tuple[Checkpoint, list[Checkpoint]]:
    """Return what is scored, and what votes; machines that share no folder get it from the first process."""
    machines = meet(directory, world)
    if not machines.far:
        return find_checkpoint(directory, which), find_voters(directory, ensemble)
    steps: list[int] = []
    with world.together():
        if world.first:
            steps = [found.step for found in (find_checkpoint(directory, which), *find_voters(directory, ensemble))]
    steps = world.gather_objects(steps)[0]
    for step in sorted(set(steps)):
        machines.spread(0, directory.checkpoints / f"step_{step:08d}")
    scored, *voters = [checkpoint.verify(directory.checkpoints / f"step_{step:08d}") for step in steps]
    return scored, voters


def find_checkpoint(directory: RunDirectory, which: str) -> Checkpoint:
    """Return the `last` or the `best` checkpoint, verified. CheckpointError: there is none."""
    root = directory.checkpoints
    if which == "best":
        best = checkpoint.read_best(root)
        if best is not None:
            return checkpoint.verify(root / f"step_{best['step']:08d}")
        raise CheckpointError(f"{root}: no best checkpoint is known", next="set evaluate.every_steps, or use the last")
    refused: list[str] = []
    found = checkpoint.newest(root, refused)
    if found is None:
        reasons = "".join(f"\n    {reason}" for reason in refused)
        raise CheckpointError(f"{root}: holds no whole checkpoint{reasons}", next="train first")
    for reason in refused:
        say(f"not used: {reason}")
    return found


def find_voters(directory: RunDirectory, count: int | None) -> list[Checkpoint]:
    """Return the checkpoints that vote together: up to `count`, none if that is None. CheckpointError: there is one."""
    found = newest_checkpoints(directory, count) if count else []
    if len(found) == 1:
        raise CheckpointError(
            f"evaluate.ensemble: {directory.checkpoints} has one whole checkpoint, and one alone is no ensemble",
            next="keep more with train.checkpoint.keep; `trmctl fetch --all` brings those in a store;"
            " or leave evaluate.ensemble out",
        )
    return found


def newest_checkpoints(directory: RunDirectory, count: int) -> list[Checkpoint]:
    """Return up to `count` of the newest checkpoints that are whole, newest first; say which are not used."""
    found: list[Checkpoint] = []
    for step in reversed(checkpoint.steps(directory.checkpoints)):
        if len(found) == count:
            break
        try:
            found.append(checkpoint.verify(directory.checkpoints / f"step_{step:08d}"))
        except CheckpointError as error:
            say(f"not used: {error.message}")
    return found


def load_for_inference(model: TrainableModel, found: Checkpoint) -> str:
    """Load the averaged weights if the checkpoint has them, else the raw ones; say which."""
    weights, kind = weights_for_inference(found, str(next(model.parameters()).device))
    load_weights(model, weights, found)
    return kind


def weights_for_inference(found: Checkpoint, device: str) -> tuple[dict[str, Tensor], str]:
    """Return weights and buffers, averaged if the checkpoint has an average, else raw; and which they are."""
    weights = found.tensors("model.safetensors", device)
    if "ema.safetensors" not in found.files:
        return weights, "raw"
    return weights | found.tensors("ema.safetensors", device), "averaged (EMA)"
