"""How deeply a recursive model thinks at each update while it learns, and what operations that takes.

A depth is a pair: `H_cycles` and `L_cycles`. It is a function of seed and update, so there is nothing to save.
"""

from trainer import flops
from trainer.data.store import Metadata
from trainer.data.window import slots_of
from trainer.generators import mixed
from trainer.models import TrainableModel
from trmkit.spec.model import RecursiveCore
from trmkit.spec.recursion import phase_at
from trmkit.spec.run import RunFile

LOOKS = 200
"""Updates, evenly spread, that the mean depth of a training is taken from."""
Depth = tuple[int, int]


def pursue(model: TrainableModel, run: RunFile) -> None:
    """Let `model` be trained by what `train.recursion` says, if it says anything."""
    if run.train.recursion is not None:
        model.pursue(run.train.recursion)


def depth_at(run: RunFile, update: int, total: int) -> Depth | None:
    """Return the depth of an update, counted from 1, of `total`; None: it never changes."""
    cfg, objective = run.model, run.train.recursion
    if objective is None or not objective.depth or not isinstance(cfg, RecursiveCore):
        return None
    phase = phase_at(objective.depth, (update - 1) / total)
    if phase is None:
        return cfg.H_cycles, cfg.L_cycles
    least, most = phase.H_cycles, phase.H_cycles_up_to or phase.H_cycles
    return least + mixed(run.seed, update, "depth") % (most - least + 1), phase.L_cycles


def row_flops(run: RunFile, data: Metadata, depth: Depth | None) -> int:
    """Return the operations of one supervised training step of one row at some depth; in windows, of the mean row."""
    cfg = run.model
    if depth is not None:
        cfg = cfg.model_copy(update=dict(zip(("H_cycles", "L_cycles"), depth, strict=True)))
    known = data.vocab_size, data.num_puzzle_identifiers, run.train.recursion
    if not data.windows:
        return flops.of_a_row(cfg, data.seq_len, *known)
    shares = slots_of(data.windows, run.train.batch_size)
    return sum(count * flops.of_a_row(cfg, side * side, *known) for side, count in shares.items()) // sum(
        shares.values()
    )


def mean_row_flops(run: RunFile, data: Metadata, total: int) -> float:
    """Return the mean operations of one supervised step of a row over a training of `total` updates."""
    looks = min(LOOKS, total)
    depths = [depth_at(run, 1 + look * total // looks, total) for look in range(looks)]
    return sum(row_flops(run, data, depth) for depth in depths) / looks
