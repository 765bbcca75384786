"""`python -m trainer <command> RUN.yaml`: what a pod, or `trmctl run`, executes."""

import argparse
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from trainer.agency import HEART, in_cluster, last_words
from trainer.arguments import add_options
from trainer.exit import in_a_group, leave_for_good
from trmkit.errors import SpecError, TrmError
from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.store.layout import RUN_ID, RunDirectory

if TYPE_CHECKING:
    from trainer.dist import World
    from trainer.exporter import Exporter
    from trainer.scope import Part


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code.

    0 done, 1 failed, 2 unusable run file, 130 or 143 stopped by a signal; 143, too, when another process is gone and,
    in a cluster, when a store does not answer or the GPU is broken.
    """
    HEART.start()
    options = parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, leave)
    try:
        return int(options.command(options))
    except KeyboardInterrupt:
        return 130
    except (TrmError, OSError) as error:
        code, reason = judge(error)
        last_words(code, reason, str(error))
        if os.environ.get("TRM_DEBUG") == "1":
            raise
        complain(error)
        return code
    except Exception as error:
        code, reason = judge(error)
        last_words(code, reason, f"{type(error).__name__} on {socket.gethostname()}: {error}")
        if code == 1 and not in_a_group():
            raise
        if code == 1:  # said here, and left by `leave_for_good`: threads of a group's transport may abort a plain exit
            traceback.print_exc()
            return code
        print(f"{SAID[reason]}: {str(error).splitlines()[0]}", file=sys.stderr)
        return code
    finally:
        if signal.getsignal(signal.SIGTERM) is leave:  # it is ignored once all processes are done
            signal.signal(signal.SIGTERM, before)


REASONS = {2: "Config", 143: "PeerLost"}
"""Exit code -> what the launcher calls the end; any other has failed."""
SAID = {"PeerLost": "another process of this run is gone", "BrokenGpu": "this machine's GPU does not work"}
"""What is printed of an end that is nobody's bug."""


def judge(error: Exception) -> tuple[int, str]:
    """Return the exit code and the reason that an error ends this process with.

    In a cluster it is 143, start me again, too, when a store did not answer for as long as the run file says, or the
    GPU is broken: the run's budget bounds that. Elsewhere nobody would.
    """
    own = isinstance(error, TrmError | OSError)
    if isinstance(error, SpecError) or (own and not in_cluster()):
        code = error.exit_code if isinstance(error, TrmError) else 1
        return code, REASONS.get(code, "Failed")
    from trainer.peers import gpu_is_broken, is_unreachable, out_of_memory, peer_is_gone

    if in_cluster() and gpu_is_broken(error):
        return 143, "BrokenGpu"
    if isinstance(error, TrmError | OSError) and is_unreachable(error):
        return 143, "StoreUnavailable"
    if peer_is_gone(error):
        return 143, REASONS[143]
    if isinstance(error, TrmError):
        return error.exit_code, REASONS.get(error.exit_code, "Failed")
    return 1, "OutOfMemory" if out_of_memory(error) else "Failed"


def leave(signum: int, _frame: FrameType | None) -> None:
    """Leave at once, but through every `finally`: nothing half made stays behind."""
    raise SystemExit(128 + signum)


def complain(error: TrmError | OSError) -> None:
    """Say what is wrong on stderr; of several processes that fail alike, only one does."""
    alike = isinstance(error, SpecError) and os.environ.get("RANK", "0") != "0"
    if alike or type(error).__name__ == "PeerFailedError":
        return
    hint = "" if isinstance(error, TrmError) else "\n  next: check the path, its permissions and the room on its disk"
    print(f"error: {error}{hint}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    top = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="command")
    for name, (function, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        add_options(name, command)
    return top


def open_run(options: argparse.Namespace) -> tuple[RunFile, RunDirectory]:
    """Return the run, and where it lives: around its file if that is a run's own, else where the run file says."""
    run = load(options.run, options.set)
    if getattr(options, "here", False):
        here = run.storage.model_copy(update={"remote": None, "publish_data": False})
        run = run.model_copy(update={"storage": here})
    folder = options.run.absolute().parent
    if options.run.name == "run.yaml" and RUN_ID.fullmatch(folder.name) and (folder / "checkpoints").is_dir():
        return run, RunDirectory(options.run.parent)
    return run, RunDirectory.of(run)


def build(options: argparse.Namespace) -> int:
    """Build the data set; print where it is."""
    from trainer import data

    run, _ = open_run(options)
    print(data.build_for(run))
    return 0


def features(options: argparse.Namespace) -> int:
    """Read the text of every row once, and keep what the reader makes of it; print where it is."""
    from trainer.features.stage import read_features

    run, _ = open_run(options)

    def work(world: "World") -> None:
        folder = read_features(run, world)
        if folder is not None and world.first:
            print(folder)

    return together(run, work)


def together(run: RunFile, work: "Callable[[World], object]") -> int:
    """Do `work` on all processes of this run; return the exit code."""
    from trainer import dist

    try:
        with dist.world(run.train, run.cluster.gpus_per_node if in_cluster() else 0) as world:
            work(world)
    except dist.Stopped as stopped:
        last_words(stopped.exit_code, "Preempted", str(stopped))
        return stopped.exit_code
    return 0


def served(
    run: RunFile, directory: RunDirectory, work: "Callable[[World, Exporter], object]"
) -> "Callable[[World], object]":
    """Return `work` with the run's metrics served meanwhile."""
    from trainer.serving import serving

    def work_and_serve(world: "World") -> None:
        with serving(run, directory, world) as exporter:
            work(world, exporter)

    return work_and_serve


def train(options: argparse.Namespace) -> int:
    """Train, or go on training."""
    from trainer.train import train as train_run

    run, directory = open_run(options)
    return together(run, served(run, directory, lambda world, exporter: train_run(run, directory, world, exporter)))


def follow(options: argparse.Namespace) -> int:
    """Score checkpoints as training saves them, until the last one."""
    from trainer.follow import follow as follow_run

    run, directory = open_run(options)
    return together(run, lambda world: follow_run(run, directory, world))


def evaluate(options: argparse.Namespace) -> int:
    """Score a checkpoint and write eval.json, or a part of the test set and write eval-partial.json."""
    from trainer.scope import Part
    from trainer.stages import evaluate as evaluate_run

    run, directory = open_run(options)
    part = Part(options.sample, options.tasks, options.suite)
    if options.others:
        return vote(options, part)
    return together(run, lambda world: evaluate_run(run, directory, world, options.checkpoint, part))


def vote(options: argparse.Namespace, part: "Part") -> int:
    """Let several runs vote together. SpecError: only a part is asked for."""
    from trainer.ensemble import vote_together

    if part:
        raise SpecError("--with: runs vote on all tasks together", next="leave --sample, --tasks and --suite out")
    runs = [open_run(options)]
    runs += [(load(path / "run.yaml"), RunDirectory(path)) for path in options.others]
    return together(runs[0][0], lambda world: vote_together(runs, world, options.checkpoint))


def run_stages(options: argparse.Namespace) -> int:
    """Build, read, train, evaluate and report in one go, on all processes; what is done is not done again."""
    from trainer.stages import run_stages as run_all

    run, directory = open_run(options)
    stages = options.stages
    return together(
        run, served(run, directory, lambda world, exporter: run_all(run, directory, world, stages, exporter))
    )


def report(options: argparse.Namespace) -> int:
    """Write report.html from what the run left behind; print where it is."""
    from trainer.stages import report as write_report

    run, directory = open_run(options)
    print(write_report(run, directory))
    return 0


def compare(options: argparse.Namespace) -> int:
    """Put runs side by side."""
    from trainer.report.compare import compare_runs

    print(compare_runs([RunDirectory(path) for path in options.runs], options.output, options.page))
    return 0


def ladder(options: argparse.Namespace) -> int:
    """Compare the rungs of a ladder, and write the answer."""
    from trainer.report.ladder import report as answer
    from trmkit.ladder import rungs, variants_of

    wanted = rungs(
        load(options.run, options.set), variants_of(options.variants, options.run, options.set), options.seeds
    )
    print(answer(options.run, options.set, wanted, options.out, options.output))
    return 0


def predict(options: argparse.Namespace) -> int:
    """Answer puzzles with a trained model."""
    from trainer.predict import predict as answer

    print(answer(options))
    return 0


def view_data(options: argparse.Namespace) -> int:
    """List, show or preview built data sets."""
    from trainer.data_view import view

    print(view(options))
    return 0


def describe(options: argparse.Namespace) -> int:
    """Print parameters, arithmetic, memory, disk and time before anything is trained."""
    from trainer.describe import describe_run

    run, _ = open_run(options)
    print(describe_run(run, options.output, gpu=options.gpu, rate=options.rate, memory=options.memory))
    return 0


def import_checkpoint(options: argparse.Namespace) -> int:
    """Start the run from a checkpoint of the reference implementation."""
    from trainer.transfer import import_reference

    run, directory = open_run(options)
    print(import_reference(run, directory, options.file))
    return 0


def export_checkpoint(options: argparse.Namespace) -> int:
    """Write a checkpoint as the reference implementation reads it."""
    from trainer.transfer import export_reference

    run, directory = open_run(options)
    print(export_reference(run, directory, options.file, options.checkpoint, compiled=options.compiled))
    return 0


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "build": (build, "build the data set"),
    "features": (features, "read the text of every row, of a run that is conditioned on it"),
    "train": (train, "train, or go on training"),
    "follow": (follow, "score checkpoints as training saves them, until the last one"),
    "run": (run_stages, "build, train, evaluate and report; go on where a run was interrupted"),
    "evaluate": (evaluate, "score a checkpoint and write eval.json"),
    "report": (report, "write report.html"),
    "compare": (compare, "put runs side by side"),
    "ladder": (ladder, "compare the rungs of an ablation ladder"),
    "predict": (predict, "answer puzzles with a trained model"),
    "data": (view_data, "list, show and preview built data sets"),
    "describe": (describe, "print parameters, FLOPs, memory, disk and time"),
    "import": (import_checkpoint, "start a run from a checkpoint of the reference implementation"),
    "export": (export_checkpoint, "write a checkpoint as the reference implementation reads it"),
}


if __name__ == "__main__":
    leave_for_good(main())
