"""From what a person types to a run in a store."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from trmctl.output import talk
from trmkit.errors import StoreError
from trmkit.spec.storage import StorageSection
from trmkit.store.base import Store
from trmkit.store.catalog import Listed

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")
NAME = re.compile(r"[a-z][-a-z0-9]{0,49}")
PATIENCE = 30.0
"""Seconds that commands wait for a store that does not answer."""


def store_options(function: F) -> F:
    """Add `--store`, `-c` and `--set`: arguments `store`, `config` and `overrides`."""
    store = click.option(
        "--store", metavar="URL", envvar="TRM_STORE", help="s3://bucket/prefix or a folder [default: $TRM_STORE]."
    )
    config = click.option("-c", "--config", metavar="FILE", help="Take the `storage` section of this run file.")
    override = click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change a key of it.")
    return store(config(override(function)))


def storage(store: str | None, config: str | None, overrides: Sequence[str]) -> StorageSection:
    """Return the `storage` section that the options mean; `--store` replaces `storage.remote`. Raises SpecError."""
    from trmkit.spec.load import load

    found = load(config, overrides).storage if config is not None else StorageSection()
    if store is None:
        return found
    return StorageSection.model_validate({**found.model_dump(), "remote": check_url(store)})


def check_url(url: str) -> str:
    """Return the address of a store. Raises click.UsageError: it is none."""
    from pydantic import ValidationError

    try:
        StorageSection(remote=url)
    except ValidationError as error:
        raise click.UsageError(f"--store: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    return url


def ask(action: Callable[[], T]) -> T:
    """Return what `action` asks of a store; wait a while for one that does not answer, and say so."""
    from trmkit.store.retry import persist

    return persist(action, PATIENCE, waiting=lambda error: talk(f"waiting for the store: {error.message}"))


@dataclass(frozen=True)
class StoredRun:
    """A run in a store."""

    store: Store
    run: Listed


def find(options: StorageSection, text: str) -> StoredRun:
    """Return the run meant by a name, an id, name/id, or its whole address; of several the one that spoke last.

    StoreError: there is none; the close names are in the message.
    """
    from trmkit.spec.tree import did_you_mean
    from trmkit.store.catalog import matching, runs

    options, text = split_address(options, text)
    store = opened(options)
    known = ask(lambda: runs(store))
    found = matching(known, text) or ask(lambda: unlisted(store, text))
    if not found:
        names = {name for run in known for name in (run.name, run.run_id, run.key)}
        listed = ", ".join(sorted({run.name for run in known})[:20]) or "none yet"
        raise StoreError(
            f"there is no run {text!r} in {store.url}{did_you_mean(text, names)}", next=f"the runs there are: {listed}"
        )
    if len(found) > 1:
        others = ", ".join(run.key for run in found[1:6])
        click.echo(f"taking {found[0].key}, the latest; there are also {others}", err=True)
    return StoredRun(store, found[0])


def opened(options: StorageSection) -> Store:
    """Return the store of the options. Raises StoreError: there is none, or it is a folder that is not there."""
    from trmkit.store.open import open_store

    if options.remote is not None and not options.remote.startswith("s3://") and not Path(options.remote).is_dir():
        raise StoreError(f"{options.remote}: no such folder", next="check --store, TRM_STORE or storage.remote")
    return open_store(options)


def unlisted(store: Store, text: str) -> list[Listed]:
    """Return the run `name/id` although the index has no line of it: it died early, or the line was lost."""
    from trmkit.store import summary as summaries
    from trmkit.store.layout import CHECKPOINTS, RUN_ID
    from trmkit.store.publish import checkpoints

    name, _, run_id = text.partition("/")
    if not NAME.fullmatch(name) or not RUN_ID.fullmatch(run_id):
        return []
    known, there = summaries.read(store, text), checkpoints(store, f"{text}/{CHECKPOINTS}")
    if known is None and not there:
        return []
    now = (known or summaries.Summary()).status
    step = max(now.step, there[0].step if there else 0)
    return [Listed(name, run_id, now.state, step, now.total, now.metric, now.value, 0.0)]


def split_address(options: StorageSection, text: str) -> tuple[StorageSection, str]:
    """Take `s3://bucket/prefix/name/id` apart into the store and the run."""
    if not text.startswith("s3://"):
        return options, text
    url, name, run_id = text.rstrip("/").rsplit("/", 2)
    if url in ("s3:", "s3:/"):
        raise click.UsageError(f"{text!r} is not s3://bucket/prefix/NAME/ID")
    return StorageSection.model_validate({**options.model_dump(), "remote": check_url(url)}), f"{name}/{run_id}"
