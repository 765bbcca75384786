"""The ladder as a set of runs: one run file, trained once for every rung and seed, everything else being the same."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import get_args

from trmkit.errors import SpecError, StoreError
from trmkit.spec.ladder import LadderModel, Variant
from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.spec.tree import did_you_mean
from trmkit.store.layout import RunDirectory, store_key

VARIANTS: tuple[str, ...] = get_args(Variant)
"""Every rung, and the control, in their order."""
BASELINE = "baseline"
CLAIM = 3
"""Seeds that a claim needs."""

Rung = tuple[str, int]
"""Variant and seed."""


def variants_of(text: str, config: str | PathLike[str], overrides: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the variants that `all`, or names with commas between them, mean for a run file.

    `all` are those that the run file can be of: the control has one size, and `1B-16k` no Mamba-2. SpecError: there is
    no such variant, or none fits.
    """
    if text.strip() == "all":
        return tuple(name for name in VARIANTS if _fits(name, config, overrides))
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in VARIANTS:
            raise SpecError(
                f"--variants: there is no {name!r}{did_you_mean(name, VARIANTS)}",
                next=f"all, or some of {', '.join(VARIANTS)}",
            )
    if not names:
        raise SpecError("--variants: names none", next=f"all, or some of {', '.join(VARIANTS)}")
    return names


def _fits(variant: str, config: str | PathLike[str], overrides: Sequence[str]) -> bool:
    try:
        load(config, [*overrides, f"model.variant={variant}"])
    except SpecError:
        if variant == BASELINE:  # then it is not the variant
            raise
        return False
    return True


def rungs(run: RunFile, variants: Sequence[str], seeds: int) -> list[Rung]:
    """Return what is trained, all variants of the first seed first, so that a part of the ladder can be read early.

    SpecError: the run file is none of the ladder.
    """
    if not isinstance(run.model, LadderModel):
        raise SpecError(f"{run.name}: model.family is {run.model.family}", next="give a run file of the family ladder")
    return [(variant, run.seed + number) for number in range(seeds) for variant in variants]


def settings(rung: Rung) -> list[str]:
    """Return what makes the run file that of a rung, as `KEY=VALUE`."""
    return [f"model.variant={rung[0]}", f"seed={rung[1]}"]


def take_results(config: str, overrides: Sequence[str], wanted: Sequence[Rung]) -> Iterator[str]:
    """Bring the small files of every rung from the runs' store; say what came and what is not there.

    SpecError: the run file names no store.
    """
    from trmkit.store.fetch import Fetch
    from trmkit.store.open import open_store
    from trmkit.store.take import take_files

    storage = load(config, overrides).storage
    if storage.remote is None:
        raise SpecError(
            "storage.remote: the run file names no store", next="--set storage.remote=s3://<bucket>/<prefix>"
        )
    store = open_store(storage)
    for rung in wanted:
        run = load(config, [*overrides, *settings(rung)])
        directory = RunDirectory.of(run)
        try:
            take_files(Fetch(store, 60 * storage.patience_minutes), store_key(run, directory), directory.root)
        except StoreError as error:
            yield f"left out {rung[0]} seed {rung[1]}: {error.message}"
        else:
            yield f"{rung[0]} seed {rung[1]}: {directory.root}"
