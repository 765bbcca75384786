"""`trmctl init`."""

import json
from importlib.resources import files
from pathlib import Path

import click

from trmctl.output import talk
from trmkit.errors import SpecError
from trmkit.spec.tree import did_you_mean
from trmkit.store.local import write_whole

SCHEMA = "runfile.schema.json"


def templates() -> dict[str, str]:
    """Return the text of every template by name. They are copies of `configs/`, made by `make docs`."""
    folder = files("trmctl") / "templates"
    found = sorted(
        (item for item in folder.iterdir() if item.name.endswith(".yaml")),
        key=lambda item: item.name.removesuffix(".yaml"),
    )
    return {item.name.removesuffix(".yaml"): item.read_text(encoding="utf-8") for item in found}


@click.command("init")
@click.argument("file", default="run.yaml", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--template", metavar="NAME", default="arc-demo", show_default=True, help="What to start from.")
@click.option("--list", "show", is_flag=True, help="List the templates and leave.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def command(file: Path, template: str, show: bool, force: bool) -> None:
    """Write a first run file, with comments.

    Writes FILE (run.yaml) and, beside it, runfile.schema.json, which its first line names: editors with a YAML language
    server then complete the keys, check them and show what they mean.

    \b
    Example:
      trmctl init sudoku.yaml --template sudoku-4x4
    """
    known = templates()
    if show:
        click.echo("\n".join(known))
        return
    if template not in known:
        raise SpecError(
            f"there is no template {template!r}{did_you_mean(template, known)}", next=f"one of {', '.join(known)}"
        )
    if file.exists() and not force:
        raise SpecError(f"{file} exists", next="give another name, or --force to overwrite it")
    from trmkit.spec.explain import schema

    write_whole(file.parent / SCHEMA, json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
    write_whole(file, known[template].replace("$schema=../docs/reference/", "$schema=", 1))
    talk(f"wrote {file} and {file.parent / SCHEMA}\n  next: trmctl run -c {file}")
