"""What each command of `python -m trainer` takes."""

import argparse
from pathlib import Path

from trmkit.spec.evaluate import SUITES
from trmkit.stages import FOLLOW
from trmkit.stages import NAMES as STAGES


def add_options(name: str, command: argparse.ArgumentParser) -> None:
    """Add what the command `name` takes."""
    if name == "predict":
        add_predict(command)
    elif name == "data":
        add_data(command)
    elif name == "ladder":
        add_ladder(command)
    elif name == "compare":
        command.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIRECTORY")
        command.add_argument("--page", type=Path, help="also write the comparison as a page")
    else:
        command.add_argument("run", type=Path, metavar="RUN.yaml")
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one key")
    if name in ("describe", "compare", "ladder"):
        command.add_argument("-o", "--output", choices=("table", "json"), default="table")
    if name in ("import", "export"):
        command.add_argument("file", type=Path, help="checkpoint file of the reference implementation")
    if name in ("evaluate", "report"):
        command.add_argument("--here", action="store_true", help="leave the run's store alone")
    if name in ("evaluate", "export"):
        command.add_argument("--checkpoint", choices=("last", "best"), default="last")
    if name == "evaluate":
        command.add_argument(
            "--sample", type=_count, metavar="N", help="score so many rows or items, or whole ARC tasks"
        )
        command.add_argument(
            "--with", action="append", default=[], type=Path, dest="others", metavar="RUN_DIRECTORY",
            help="let this run vote together with that one; may be given again",
        )  # fmt: skip
        command.add_argument("--tasks", type=_words, default=(), metavar="A,B", help="score these tasks")
        command.add_argument("--suite", type=_suites, default=(), metavar="A,B", help=f"{', '.join(SUITES)} or all")
    if name == "run":
        command.add_argument("--stages", type=_stages, default=STAGES, metavar="A,B", help=",".join(STAGES))
    if name == "export":
        command.add_argument("--compiled", action="store_true", help="use the names of a compiled model")
    if name == "describe":
        command.add_argument("--gpu", help="estimate the time on this GPU, by name")
        command.add_argument("--rate", type=float, help="estimate the time from this many rows per second")
        command.add_argument("--memory", action="store_true", help="show the memory of every stage alone")


def add_predict(command: argparse.ArgumentParser) -> None:
    """Add what `predict` takes."""
    command.add_argument("run", type=Path, metavar="RUN", help="run directory, or the folder of a checkpoint")
    command.add_argument("input", metavar="INPUT", help="a file, - for stdin, or a Sudoku itself")
    command.add_argument("--checkpoint", choices=("last", "best"), default="last")
    command.add_argument("--votes", type=int, help="most views of a known ARC task that vote")
    command.add_argument("--steps", action="store_true", help="show what was guessed after each supervision step")
    command.add_argument("--device", default="cpu", help="where to compute: auto, cpu, cuda, cuda:1 or mps")
    command.add_argument("-o", "--output", choices=("table", "json"), default="table")


def add_ladder(command: argparse.ArgumentParser) -> None:
    """Add what `ladder` takes."""
    command.add_argument("run", type=Path, metavar="RUN.yaml")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one key")
    command.add_argument("--variants", default="all", metavar="A,B", help="all, or some of the rungs")
    command.add_argument("--seeds", type=_count, default=3, metavar="N", help="so many, from the run file's on")
    command.add_argument("--out", type=Path, help="folder of the report; else beside the runs")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise argparse.ArgumentTypeError("names no task")
    return words


def _suites(text: str) -> tuple[str, ...]:
    words = _words(text)
    unknown = [word for word in words if word not in (*SUITES, "all")]
    if unknown:
        known = ", ".join((*SUITES, "all"))
        raise argparse.ArgumentTypeError(f"there is no suite {unknown[0]!r}; there are {known}")
    return words


def _stages(text: str) -> tuple[str, ...]:
    words = _words(text)
    unknown = [word for word in words if word not in (*STAGES, FOLLOW.name)]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    return words


def add_data(command: argparse.ArgumentParser) -> None:
    """Add what `data` takes."""
    command.add_argument("action", choices=("list", "show", "preview"))
    command.add_argument("where", nargs="?", metavar="WHERE", help="folder of a data set, or its name below --root")
    command.add_argument("-c", "--config", type=Path, metavar="RUN.yaml", help="the data set of this run file")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one key")
    command.add_argument("--root", type=Path, default=Path("data"), help="where data sets are")
    command.add_argument("--out", type=Path, help="the page of preview")
    command.add_argument("--rows", type=int, default=8, help="puzzles of each split on the page")
    command.add_argument("-o", "--output", choices=("table", "json"), default="table")
