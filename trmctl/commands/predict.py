"""`trmctl predict`."""

import sys
import tempfile
from pathlib import Path

import click

from trmctl.options import output_option, runs_option
from trmctl.stages import Trainer, require_trainer, run_one


@click.command("predict")
@click.argument("run")
@click.argument("input", metavar="INPUT")
@runs_option
@click.option("--checkpoint", type=click.Choice(("last", "best")), default="last", show_default=True, help="Of a run.")
@click.option("--votes", type=click.IntRange(1), help="Most views of a known ARC task that vote (16).")
@click.option("--steps", is_flag=True, help="Show what was guessed after each supervision step.")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@output_option("table", "json")
def command(
    run: str, input: str, runs: str, checkpoint: str, votes: int | None, steps: bool, device: str, output: str
) -> int:
    """Answer a Sudoku, a maze, an ARC task or a prompt with a trained model.

    RUN is a run directory, a name (its newest run), an id, NAME/ID, or the folder of a checkpoint. INPUT is a file, `-`
    for stdin, or a Sudoku itself: a line of digits, `.` or 0 for a blank; a file may have many lines. Mazes are text
    (`#`, space, S, G). ARC tasks are JSON, and known by the name of the file. Language models take a prompt, or a file
    with one a line.

    Prints each answer, how sure the model is, and whether the answer solves the puzzle, where that can be told. Also an
    answer that does not ends with exit code 0.

    \b
    Example:
      trmctl predict sudoku-4x4 1.3.3.1.2.4.4.2.
    """
    place = find_place(run, Path(runs))
    require_trainer()
    extra = [*(["--votes", str(votes)] if votes else []), *(["--steps"] if steps else [])]
    words = [str(place), "--checkpoint", checkpoint, "--device", device, "-o", output, *extra, "--", input]
    with tempfile.TemporaryFile() as copied:  # a child in a group of its own cannot read from a terminal
        if input == "-":
            copied.write(sys.stdin.buffer.read())
            copied.seek(0)
        return run_one(Trainer().command("predict", *words), copied.fileno())


def find_place(text: str, runs: Path) -> Path:
    """Return the folder of a checkpoint, or the run directory meant by `text`. Raises StoreError."""
    from trmctl.runs import find

    folder = Path(text)
    return folder if (folder / "manifest.json").is_file() else find(text, runs).root
