"""`trmctl explain`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from trmctl import output as out
from trmctl.commands.describe import describe
from trmctl.options import output_option, run_file_options

if TYPE_CHECKING:
    from trmkit.spec.explain import Key, Page


@click.command("explain")
@click.argument("path", default="")
@output_option("table", "json", "yaml", "name")
@click.option("--memory", is_flag=True, help="Explain instead what the memory of the run file's stages goes to.")
@run_file_options
def command(path: str, output: str, memory: bool, config: str, overrides: tuple[str, ...]) -> int:
    """Say what a key of the run file means, and what it may be.

    PATH is a section or a key, such as `train`, `train.lr`, `data.canvas` or `data.arc.canvas`; without it the sections
    are listed; `spec.deadline` and the like are keys of a TrmRun. With --memory it is the memory of a run file's
    stages that is explained, by arithmetic.

    \b
    Example:
      trmctl explain train.lr
      trmctl explain --memory -c run.yaml
    """
    if memory:
        if path or output not in ("table", "json"):
            raise click.UsageError("--memory goes without a PATH, and prints a table or json")
        return describe(config, overrides, "--memory", "-o", output)
    from trmkit.spec.explain import Page, explain

    found = explain(path)
    if output in ("json", "yaml"):
        out.data({"explain": [asdict(item) for item in found]}, output)
    elif output == "name":
        keys = [key for item in found for key in (item.keys if isinstance(item, Page) else [item])]
        click.echo("\n".join(dict.fromkeys(key.path for key in keys)))
    else:
        show(found)
    return 0


def show(found: "Sequence[Page | Key]") -> None:
    """Print sections or keys with an empty line in between."""
    from trmkit.spec.explain import Page

    for number, item in enumerate(found):
        if number:
            click.echo()
        if isinstance(item, Page):
            show_page(item)
        else:
            show_key(item)


def show_page(page: "Page") -> None:
    """Print a section: what it is for, and its keys."""
    title = page.path or "run file"
    click.echo(f"{title} ({page.when})" if page.when else title)
    click.echo(f"  {page.doc}\n")
    rows = [(key.path.rpartition(".")[2], default_words(key), key.type, key.doc) for key in page.keys]
    out.table(("KEY", "DEFAULT", "TYPE", "MEANING"), rows)


def show_key(key: "Key") -> None:
    """Print one key."""
    click.echo(f"{key.path} ({key.when})" if key.when else key.path)
    click.echo(f"  {key.doc}\n")
    click.echo(f"  type      {key.type}")
    click.echo(f"  default   {default_words(key)}")


def default_words(key: "Key") -> str:
    """Return the default as written, or that there is none."""
    return "(required)" if key.default is None else key.default
