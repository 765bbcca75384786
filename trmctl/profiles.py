"""Profiles: names for where somebody works, in `config.toml` in the user's configuration folder.

default = "lab"
[profiles.lab]
context = "lab-a100"
namespace = "research"
queue = "batch"
owner = "ada"
store = "s3://models/runs"
"""

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from trmkit.errors import SpecError


@dataclass(frozen=True)
class Profile:
    """What commands take where no option says otherwise."""

    context: str | None = None
    """Context of the kubeconfig."""
    namespace: str | None = None
    queue: str | None = None
    """Kueue LocalQueue of runs whose file names none."""
    store: str | None = None
    """Address of the store, as `--store` has it."""
    owner: str | None = None
    """`cluster.owner` of runs whose file names none."""


def path() -> Path:
    """Return where the profiles are; `TRM_CONFIG` names another file."""
    return Path(os.environ.get("TRM_CONFIG") or Path(click.get_app_dir("trmctl")) / "config.toml")


def profile(name: str | None = None) -> Profile:
    """Return a profile; None: the one that `default` names, or an empty one. SpecError: there is none."""
    place = path()
    try:
        found = tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {}
    except (OSError, ValueError) as error:
        raise SpecError(f"{place}: {error}", next="correct the file, or name another in TRM_CONFIG") from error
    known = _checked(found, place)
    name = name or found.get("default")
    if name is None:
        return Profile()
    if name not in known:
        from trmkit.spec.tree import did_you_mean

        there = ", ".join(sorted(known)) or "none yet"
        raise SpecError(
            f"{place}: there is no profile {name!r}{did_you_mean(name, set(known))}", next=f"profiles there: {there}"
        )
    return known[name]


def _checked(found: dict[str, Any], place: Path) -> dict[str, Profile]:
    """Return the profiles. SpecError: a key that means nothing, or a value that is no text."""
    tables = found.get("profiles", {})
    _keys(found, {"default", "profiles"}, f"{place}: ")
    if not isinstance(tables, dict):
        raise SpecError(f"{place}: profiles: is no table", next="write [profiles.NAME]")
    if not isinstance(found.get("default", ""), str):
        raise SpecError(f"{place}: default: is no name", next='write default = "NAME"')
    for name, table in tables.items():
        where = f"{place}: profiles.{name}"
        if not isinstance(table, dict):
            raise SpecError(f"{where}: is no table", next=f"write [profiles.{name}]")
        _keys(table, {field.name for field in fields(Profile)}, f"{where}.")
        for key, value in table.items():
            if not isinstance(value, str):
                raise SpecError(f"{where}.{key}: is {value!r}, and should be text", next=f'write {key} = "…"')
    return {name: Profile(**table) for name, table in tables.items()}


def _keys(found: dict[str, Any], known: set[str], where: str) -> None:
    for key in found:
        if key not in known:
            from trmkit.spec.tree import did_you_mean

            raise SpecError(
                f"{where}{key}: there is no such key{did_you_mean(key, known)}",
                next=f"keys here: {', '.join(sorted(known))}",
            )
