"""Built data sets for people: a list of them, one in numbers, and a page with pictures of its rows."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from trainer.data import place_of
from trainer.data.manifest import NAME, Grid, grid_of, read_manifest
from trainer.data.sampler import Rows, evenly
from trainer.data.store import Split, read_identifiers, read_split
from trainer.examples import picture
from trainer.report.grids import draw
from trainer.report.page import templates
from trainer.text_view import TEXT_ROWS, text_documents, text_rows, text_splits
from trmkit.errors import DataError
from trmkit.spec.load import load
from trmkit.store.local import write_whole
from trmkit.words import size

SPLITS = {"train": "Training rows", "test": "Held-out rows"}
VIEWS = 4
"""Puzzles of a group that are shown: the original, then augmented ones."""


def view(options: argparse.Namespace) -> str:
    """Return what `list` or `show` prints, or the path of the page of `preview`. DataError: no such data set."""
    root = options.root
    if options.config is not None:
        run = load(options.config, options.set)
        root, folder = Path(run.storage.data), place_of(run.data, Path(run.storage.data))
    if options.action == "list":
        found = list_sets(root)
        return json.dumps(found, indent=2) if options.output == "json" else _list_table(found, root)
    if options.config is None:
        folder = _find(options.where, root)
    elif not (folder / "train" / "dataset.json").is_file():
        raise DataError(
            f"{folder}: the data set of {options.config} is not built", next=f"python -m trainer build {options.config}"
        )
    if options.action == "preview":
        out = options.out or Path(f"{folder.name}.html")
        write_whole(out, preview_page(folder, options.rows))
        return str(out)
    shown = describe_set(folder)
    return json.dumps(shown, indent=2) if options.output == "json" else "\n".join(_lines(shown))


def _find(where: str | None, root: Path) -> Path:
    """Return the data set meant by a folder, or by the beginning of the name of one below `root`."""
    if where is None:
        raise DataError("which data set?", next="give its folder, its name, or a run file with -c")
    if (Path(where) / "train" / "dataset.json").is_file():
        return Path(where)
    known = [folder for folder in _folders(root) if folder.name.startswith(where)]
    if len(known) == 1:
        return known[0]
    listed = ", ".join(folder.name for folder in known or _folders(root)) or "none"
    what = f"{len(known)} data sets in {root}/ begin with {where!r}" if known else f"there is no data set {where!r}"
    raise DataError(what, next=f"one of {listed}" if known else f"those in {root}/ are: {listed}")


def _folders(root: Path) -> list[Path]:
    found = [path.parent for path in root.glob(f"*/{NAME}") if not path.parent.name.startswith(".")]
    return sorted(folder for folder in found if read_manifest(folder) is not None)


def list_sets(root: Path) -> list[dict[str, Any]]:
    """Return folder, source, rows, bytes and date of every data set that was built below `root`."""
    return [_entry(folder) for folder in _folders(root)]


def _entry(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder) or {}
    built = (folder / "train" / "dataset.json").stat().st_mtime
    return {
        "folder": str(folder),
        "source": manifest.get("source", "folder"),
        "rows": text_rows(manifest) if _is_text(manifest) else {s: len(read_split(folder, s)) for s in SPLITS},
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(built)),
    }


def _is_text(manifest: dict[str, Any]) -> bool:
    return bool(manifest) and manifest["grid"]["kind"] == "text"


def describe_set(folder: Path, documents: int = 2) -> dict[str, Any]:
    """Return everything that is known of one data set, and some of its identifiers, or of its documents if it is text.

    DataError: it is damaged.
    """
    manifest = read_manifest(folder) or {}
    if _is_text(manifest):
        return _entry(folder) | {
            "grid": f"text, rows of {manifest['grid']['width']} tokens",
            "section": manifest["section"],
            "counts": manifest["counts"],
            "splits": text_splits(folder),
            "left_out": manifest["left_out"],
            "documents": text_documents(folder, documents),
        }
    names = read_identifiers(folder)
    grid = grid_of(folder)
    return _entry(folder) | {
        "grid": f"{grid.kind}, {grid.height} x {grid.width}" + (", corners" if grid.layout == "corners" else ""),
        "section": manifest.get("section"),
        "counts": manifest.get("counts", {}),
        "splits": {split: _counts(read_split(folder, split)) for split in SPLITS},
        "left_out": manifest.get("left_out", {}),
        "identifiers": {"count": len(names), "sample": [names[row] for row in evenly(_range(len(names)), 8)]},
    }


def _range(count: int) -> Rows:
    return np.arange(count, dtype=np.int64)


def _counts(split: Split) -> dict[str, int]:
    data = split.metadata
    return {
        "rows": len(split),
        "puzzles": len(split.puzzle_identifiers),
        "groups": data.total_groups,
        "cells": data.seq_len,
        "vocabulary": data.vocab_size,
    }


def _list_table(found: list[dict[str, Any]], root: Path) -> str:
    if not found:
        return f"no data set in {root}/"
    head = ("FOLDER", "SOURCE", "TRAIN", "TEST", "SIZE", "BUILT")
    rows = [head]
    for one in found:
        counted = TEXT_ROWS if one["source"] == "curriculum" else dict.fromkeys(SPLITS, "rows")
        counts = (f"{one['rows'][split]:,} {counted[split]}" for split in SPLITS)
        rows.append((one["folder"], one["source"], *counts, size(one["bytes"]), one["built"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _lines(shown: dict[str, Any]) -> list[str]:
    kind = "kind" if "documents" in shown else "grid"
    lines = [f"{shown['folder']}  ({size(shown['bytes'])}, built {shown['built']})", f"  {kind}     {shown['grid']}"]
    for split, counts in shown["splits"].items():
        lines.append(f"  {split:8} " + ", ".join(f"{value:,} {name}" for name, value in counts.items()))
    lines += [f"  section  {json.dumps(shown['section'])}"] if shown["section"] else []
    lines += [f"  counts   {name} {value:,}" for name, value in shown["counts"].items()]
    lines += [f"  left out {name}: {why}" for name, why in list(shown["left_out"].items())[:10]]
    more = len(shown["left_out"]) - 10
    lines += [f"  left out and {more} more"] if more > 0 else []
    if "documents" in shown:
        return lines + [f"  {name:8} {one}" for name, some in shown["documents"].items() for one in some]
    known = shown["identifiers"]
    return [*lines, f"  names    {known['count']:,}, such as {', '.join(known['sample'])}"]


def preview_page(folder: Path, groups: int) -> str:
    """Return a page with up to `groups` puzzles of each split: the original and some of its augmentations.

    Of text it is a page with so many documents of each kind.
    """
    page = templates().get_template("data.html.jinja")
    if _is_text(read_manifest(folder) or {}):
        return page.render(name=folder.name, facts=_lines(describe_set(folder, groups)), sections=[])
    names, grid = read_identifiers(folder), grid_of(folder)
    sections = []
    for split, title in SPLITS.items():
        found = read_split(folder, split)
        chosen = evenly(_range(found.metadata.total_groups), groups)
        shown = [_group(found, int(group), grid, names) for group in chosen]
        sections.append({"title": title, "total": found.metadata.total_groups, "groups": shown})
    return page.render(name=folder.name, facts=_lines(describe_set(folder)), sections=sections)


def _group(split: Split, group: int, grid: Grid, names: list[str]) -> dict[str, Any]:
    """Return a puzzle with some of its augmentations, evenly spread; of each the first row."""
    first, after = (int(split.group_indices[group + offset]) for offset in (0, 1))
    puzzles = evenly(_range(after - first), VIEWS) + first
    views = []
    for puzzle in puzzles.tolist():
        row, identifier = int(split.puzzle_indices[puzzle]), int(split.puzzle_identifiers[puzzle])
        question, answer = (picture(array[row], grid) for array in (split.inputs, split.labels))
        pictures = [
            ("question", Markup(draw(question, grid.kind, "question", given=question))),
            ("answer", Markup(draw(answer, grid.kind, "answer", given=question))),
        ]
        what = "as it is" if puzzle == first else "augmented"
        views.append({"what": what, "name": names[identifier] if identifier else "", "row": row, "pictures": pictures})
    return {"number": group, "puzzles": after - first, "views": views}
