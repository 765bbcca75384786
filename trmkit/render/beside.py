"""The job beside the one that trains, of runs with `evaluate.mode: job`: it scores checkpoints, and then the end."""

import math
from collections.abc import Sequence
from pathlib import PurePosixPath

from trmkit.errors import SpecError
from trmkit.render.quantity import amount
from trmkit.spec.run import RunFile
from trmkit.stages import FOLLOW

TRAINS = ("build", "features", "train")
"""Stages of the job that trains, where another one scores."""
MEBIBYTE = 1 << 20


def split(run: RunFile, stages: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the stages of the job that trains, and those of the one beside it; the latter has none where none is.

    SpecError: there is one, and nothing through which the two could meet.
    """
    if run.evaluate.mode != "job" or "train" not in stages:
        return tuple(stages), ()
    if run.storage.remote is None and not on_a_claim(run):
        raise SpecError(
            "evaluate.mode: job: who trains and who scores are two jobs, and have nothing to meet in",
            next="set storage.remote, or keep storage.path on a volume that both machines can mount (cluster.volumes),"
            " or leave evaluate.mode at inline",
        )
    first = tuple(stage for stage in stages if stage in TRAINS)
    return first, (FOLLOW.name, *(stage for stage in stages if stage not in TRAINS))


def on_a_claim(run: RunFile) -> bool:
    """Say whether the run's folder is on a volume that outlives its pods."""
    path = PurePosixPath(run.storage.path)
    claims = [one for one in run.cluster.volumes if one.kind == "pvc" and not one.read_only]
    return any(path.is_relative_to(claim.mount_path) for claim in claims)


def beside(run: RunFile) -> RunFile:
    """Return the run file of the job that scores: one pod with the share of one process of those that train.

    Its rows at once are those of such a process. It has no deadline of its own: it goes with the job that trains.
    """
    cluster, training = run.cluster, run.train
    each = max(1, cluster.gpus_per_node)
    rows = max(1, training.batch_size // (each * cluster.nodes * training.accumulate))
    share = {
        "nodes": 1,
        "gpus_per_node": min(1, cluster.gpus_per_node),
        "fabric": "none",
        "cpu": cluster.cpu if each == 1 else str(max(1, math.floor(amount(cluster.cpu) / each))),
        "memory": cluster.memory if each == 1 else f"{math.ceil(amount(cluster.memory) / each / MEBIBYTE)}Mi",
        "deadline_seconds": None,
    }
    rows_at_once = {"batch_size": run.evaluate.batch_size or rows}
    return run.model_copy(
        update={
            "cluster": cluster.model_copy(update=share),
            "evaluate": run.evaluate.model_copy(update=rows_at_once),
        }
    )
