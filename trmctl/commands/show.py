"""`trmctl show`."""

import time
from typing import Any

import click

from trmctl.options import output_option
from trmctl.output import data, plain, table
from trmctl.stores import StoredRun, ask, find, storage, store_options
from trmkit.words import size


@click.command("show")
@click.argument("run")
@store_options
@output_option("table", "json", "yaml")
def command(run: str, store: str | None, config: str | None, overrides: tuple[str, ...], output: str) -> None:
    """Show a run in a store: state, origin, checkpoints.

    RUN is a name, an id, NAME/ID, or s3://bucket/prefix/NAME/ID. Every checkpoint that is listed has a manifest that
    fits its name; `trmctl fetch` also compares every byte.

    \b
    Example:
      trmctl show sudoku-4x4 --store s3://my-bucket/trm
    """
    found = find(storage(store, config, overrides), run)
    content = ask(lambda: gather(found))
    if output != "table":
        data(content, output)
        return
    for name, value in content.items():
        if name not in ("checkpoints", "files") and value is not None:
            click.echo(plain(f"{name:<15} {value}"))
    click.echo()
    table(
        ["CHECKPOINT", "SIZE", "CREATED", "SCORES", ""],
        [
            [str(one["step"]), size(one["bytes"]), one["created"] or "", scores(one["scores"]), one["note"]]
            for one in content["checkpoints"]
        ],
    )
    click.echo("\n" + "  ".join(f"{name} ({size(length)})" for name, length in content["files"].items()))


def gather(found: StoredRun) -> dict[str, Any]:
    """Return what the store knows of a run."""
    from trmkit.store import summary as summaries

    summary = summaries.read(found.store, found.run.key) or summaries.Summary()
    run = found.run
    return {
        "run": run.key,
        "address": f"{found.store.url}/{run.key}",
        "state": run.state,
        "step": run.step,
        "total": run.total,
        "metric": run.metric or None,
        "value": run.value,
        "best_step": summary.status.best_step,
        "updated": time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(run.modified)),
        **{name: summary.about.get(name) for name in ("version", "commit", "image", "config_sha256")},
        "checkpoints": listed(found, summary.status.best_step),
        "files": {name: versions[0].bytes for name, versions in summary.files.items() if versions},
    }


def listed(found: StoredRun, best: object) -> list[dict[str, Any]]:
    """Return the checkpoints of a run, the newest first, with what their manifests say."""
    from trmkit.errors import StoreDamagedError
    from trmkit.store.layout import CHECKPOINTS
    from trmkit.store.publish import checkpoints, read_manifest

    lines: list[dict[str, Any]] = []
    for one in checkpoints(found.store, f"{found.run.key}/{CHECKPOINTS}"):
        try:
            manifest = read_manifest(found.store, one)
        except StoreDamagedError as error:
            reason = error.message.rpartition(": ")[2]
            lines.append({"step": one.step, "bytes": 0, "created": None, "scores": {}, "note": f"not used: {reason}"})
            continue
        about = manifest.about
        known = about.get("scores")
        lines.append(
            {
                "step": one.step, "bytes": manifest.bytes, "created": about.get("created"),
                "scores": known if isinstance(known, dict) else {}, "note": "best" if one.step == best else "",
            }
        )  # fmt: skip
    return lines


def scores(known: dict[str, Any]) -> str:
    """Return the scores that matter most as text."""
    shown = {name: known[name] for name in ("exact_accuracy", "accuracy") if isinstance(known.get(name), float)}
    return "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
