"""The stages of a run in one group of processes: as a pod does them, which has no `trmctl` to start one by one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer import data
from trainer.candidates import find_checkpoint
from trainer.dist import World
from trainer.evaluate import summary
from trainer.exporter import SILENT, Exporter
from trainer.features.stage import read_features
from trainer.follow import await_training, follow
from trainer.progress import say
from trainer.remote import Remote, remote_results
from trainer.scope import Part
from trainer.subject import subject_of
from trainer.train import train
from trmkit.errors import CheckpointError
from trmkit.spec.run import RunFile
from trmkit.stages import FOLLOW
from trmkit.store.layout import RunDirectory

WHOLE = Part()


def run_stages(
    run: RunFile, directory: RunDirectory, world: World, stages: Sequence[str], exporter: Exporter = SILENT
) -> None:
    """Do the `stages`; every process calls it. What an earlier attempt has done is found and not done again."""
    follows = FOLLOW.name in stages
    if follows and "train" not in stages:
        await_training(run, directory, world)
    if "build" in stages or follows:
        data.build_together(run, world)
    if ("features" in stages or follows) and run.features is not None:
        read_features(run, world)
    if "train" in stages:
        train(run, directory, world, exporter)
    if follows:
        exporter.state("evaluating")
        follow(run, directory, world)
    if "evaluate" in stages and not world.largest(int(world.first and is_scored(run, directory))):
        evaluate(run, directory, world, "last", WHOLE, exporter)
    if "report" in stages:
        with world.together():
            if world.first:
                say(f"report: {report(run, directory)}")


def is_scored(run: RunFile, directory: RunDirectory) -> bool:
    """Say whether `eval.json` has the scores of the newest checkpoint here, as this run file asks for them."""
    try:
        found: Any = json.loads(directory.evaluation.read_bytes())
        asked = found["asked"] == subject_of(run).asked(run) and found["checkpoint"] == "last"
        newest = find_checkpoint(directory, "last")
    except (OSError, ValueError, LookupError, TypeError, CheckpointError):
        return False
    return bool(asked and found["step"] == newest.step)


def evaluate(
    run: RunFile, directory: RunDirectory, world: World, which: str, part: Part, exporter: Exporter = SILENT
) -> None:
    """Score the `last` or the `best` checkpoint, which the run's store may have; every process calls it."""
    exporter.state("evaluating")
    with remote_results(run, directory, world, which):
        found = subject_of(run).score(run, directory, world, which, part)
    if found["scope"]["scored"] == found["scope"]["total"]:
        exporter.write("test", found["step"], summary(found))


def report(run: RunFile, directory: RunDirectory) -> Path:
    """Write the page of the run and publish it, if the run has a store; return where it is."""
    from trainer.report.page import write_report  # draws curves, so it is slow to load, and one process needs it

    if run.storage.remote is None:
        return write_report(directory)
    remote = Remote(run, directory)
    remote.bring("last")
    page = write_report(directory)
    remote.publish_results(scored=directory.evaluation.is_file())
    return page
