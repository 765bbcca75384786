"""Prints data on stdout: a table for people, JSON or YAML for programs."""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

WRAPPED_ROWS = 200
"""Of longer tables cells are not wrapped on a terminal: rich takes milliseconds for a row."""

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def data(value: dict[str, Any], form: str) -> None:
    """Print `value` as `json` or `yaml`."""
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    from trmkit.spec.yaml_write import write

    click.echo(write(value), nl=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. Off a terminal nothing is cut, wrapped or coloured."""
    cells = [[plain(cell) for cell in row] for row in rows]
    lines = aligned([header, *cells])
    printer = console()
    fits = all(len(line) <= printer.width for line in lines)
    if not any("\n" in cell for row in cells for cell in row) and (fits or len(rows) > WRAPPED_ROWS):
        click.echo(click.style(lines[0], bold=True) if printer.color_system else lines[0])
        for line in lines[1:]:
            click.echo(line)
        return
    with printer.capture() as capture:
        printer.print(tabled(header, rows))
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines, their cells below each other."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def console() -> "Console":
    """Return what prints on stdout: as wide as the terminal, or off one as wide as it takes."""
    from rich.console import Console

    on_terminal = sys.stdout.isatty()
    return Console(
        width=None if on_terminal else 10_000,
        color_system="auto" if on_terminal and not os.environ.get("NO_COLOR") else None,
        markup=False,
        highlight=False,
        emoji=False,
    )


def tabled(header: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    """Return a table with the cells as plain text."""
    from rich.table import Table

    content = Table(*header, box=None, pad_edge=False, show_edge=False, header_style="bold")
    for row in rows:
        content.add_row(*(plain(cell) for cell in row))
    return content


def talk(text: str) -> None:
    """Say something to the person, on stderr."""
    click.echo(plain(text), err=True)


def plain(text: str) -> str:
    """Return `text` without characters that steer a terminal: some of it comes from stores, which others may write."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
