"""The list of commands. A command's file is imported when the command is used, so `--help` stays quick."""

import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from trmctl.errors import exit_code
from trmctl.options import Doors
from trmkit import __version__

if TYPE_CHECKING:
    from trmctl.cluster import Opener

SECTIONS = {
    "Run files": {
        "init": "Write a first run file, with comments.",
        "validate": "Check a run file; say everything that is wrong with it at once.",
        "explain": "Say what a key of the run file means, and what it may be.",
        "schema": "Print the JSON schema of the run file, for editors.",
        "describe": "Show the model of a run file: parts, sizes, what a step costs.",
        "diff": "Show the keys in which two runs differ.",
    },
    "On this machine": {
        "run": "Build, train, evaluate and report here; go on where it stopped.",
        "predict": "Answer a Sudoku, a maze, an ARC task or a prompt with a trained model.",
        "evaluate": "Score a checkpoint of a run again, in whole or in part.",
        "report": "Make the report page of a run again.",
        "compare": "Put runs side by side.",
        "dashboard": "Show runs as they train, on a page in the browser.",
        "data": "List, show and preview built data sets.",
    },
    "In a cluster": {
        "doctor": "Check everything that a run needs of a cluster.",
        "render": "Print the Kubernetes objects of a run.",
        "submit": "Hand a run to a cluster.",
        "sweep": "Train a run file at every point of a grid, and compare.",
        "ladder": "Train every rung of an ablation ladder, here or in a cluster, and write the answer.",
        "list": "List the runs in a cluster and in a store.",
        "status": "Show a run in a cluster on one screen.",
        "logs": "Print what a run in a cluster says.",
        "watch": "Draw the curves of a run as it trains, here or in a cluster.",
        "why": "Say why a run in a cluster does not train.",
        "pause": "Have a run in a cluster save and give back its machines.",
        "resume": "Have a paused run go on where it was.",
        "cancel": "End a run in a cluster; what it has stored stays.",
        "resubmit": "Hand a run of the cluster in again.",
        "delete": "Remove a run, or all that are over, from a cluster.",
        "exec": "Run a command in a pod of a run.",
        "controller": "Keep the TrmRuns of a namespace; runs in the cluster.",
    },
    "In a store": {
        "show": "Show a run in a store: state, origin, checkpoints.",
        "fetch": "Bring a run from a store, verified.",
        "gc": "Remove from a store what never finished.",
    },
    "Shells": {"completion": "Print what makes a shell complete commands and runs."},
}
"""Every command: `trmctl/commands/<name>.py` holds it as `command`. The line is its short help."""

COMMANDS = {name: text for commands in SECTIONS.values() for name, text in commands.items()}


class Commands(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"trmctl.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=12)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one when the name is wrong."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            suggestion = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}{suggestion}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or run file, 3 cluster unreachable or forbidden, 4 not found, "
    "5 timed out, 6 preempted (again may help), 130 stopped or detached by Ctrl-C, 143 stopped by SIGTERM.",
)
@click.version_option(__version__, prog_name="trmctl", message="%(prog)s %(version)s")
def cli() -> None:
    """Train Tiny Recursive Models from one run file.

    Start with `trmctl init`, then `trmctl run -c run.yaml`.
    """


def main(
    argv: Sequence[str] | None = None,
    *,
    open_cluster: "Opener | None" = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Run the command line and exit. `open_cluster` replaces `trmctl.kube.open_cluster`, `wait` the clock."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for them costs a tenth of every start
    doors = Doors(open_cluster, wait)
    sys.exit(exit_code(lambda: cli.main(argv, prog_name="trmctl", standalone_mode=False, obj=doors)))
