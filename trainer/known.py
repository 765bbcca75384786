"""What a run keeps of its data, so that its checkpoints can be used where the data set is not.

`data.json` holds the data set's manifest; under `dataset`, what its `dataset.json` says; and under `sides`, where tasks
are worked on in windows, the side of each. `identifiers.json` names the rows of the puzzle table; `tokens.json` and
`tokenizer.json` are the tokenizer of text.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer import checkpoint
from trainer.candidates import find_checkpoint
from trainer.checkpoint import Checkpoint
from trainer.data import place_of
from trainer.data.augment import SEPARATOR
from trainer.data.manifest import Grid, grid_of, read_manifest
from trainer.data.store import Metadata, read_identifiers, read_metadata, read_split
from trainer.data.tokens import FILES as TOKENIZER_FILES
from trainer.dist import World
from trmkit.errors import CheckpointError, DataError
from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole
from trmkit.store.manifest import MANIFEST

RUN_FILE = RunDirectory(Path()).run_file.name


@dataclass(frozen=True)
class Known:
    """A verified checkpoint with everything that is needed to use it."""

    run: RunFile
    directory: RunDirectory
    checkpoint: Checkpoint
    grid: Grid
    metadata: Metadata
    names: list[str]
    """Name of every puzzle identifier, the blank one first."""


def note_data(run: RunFile, directory: RunDirectory, world: World) -> None:
    """Write `data.json`, and beside it names of puzzles and the tokenizer of text; every process calls it."""
    with world.together():
        if world.first:
            write_notes(place_of(run.data, Path(run.storage.data)), directory)


def write_notes(folder: Path, directory: RunDirectory) -> None:
    """Copy what is known of the data set in `folder` into the run directory."""
    metadata = read_metadata(folder)
    content = read_manifest(folder) or {"grid": grid_of(folder).as_json()}
    content = content | {"dataset": asdict(metadata)} | ({"sides": sides_of(folder)} if metadata.windows else {})
    write_whole(directory.data_manifest, json.dumps(content, indent=1))
    if metadata.num_puzzle_identifiers > 1:
        _copy(folder / directory.identifiers.name, directory.identifiers)
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            _copy(folder / name, directory.root / name)


def sides_of(folder: Path) -> dict[str, int]:
    """Return the side of the window of every task of the data set in `folder`, by its name."""
    split, names = read_split(folder, "train"), read_identifiers(folder)
    assert split.windows is not None
    first = split.puzzle_identifiers[split.group_indices[:-1]]
    tasks = [names[identifier].split(SEPARATOR)[0] for identifier in first.tolist()]
    return dict(zip(tasks, split.windows.tolist(), strict=True))


def read_sides(directory: RunDirectory) -> dict[str, int]:
    """Return what `sides_of` found of a run's tasks. CheckpointError: the run directory does not say it."""
    try:
        sides = json.loads(directory.data_manifest.read_bytes())["sides"]
        return {str(name): int(side) for name, side in sides.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _lacking(directory, "in which window each task is worked on", error) from error


def _lacking(directory: RunDirectory, what: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{directory.data_manifest}: does not say {what} ({type(error).__name__}: {error})",
        next=f"run `python -m trainer train {directory.run_file}` once: it writes the file, and trains no further",
    )


def _copy(file: Path, target: Path) -> None:
    content = file.read_bytes()
    if not target.is_file() or target.read_bytes() != content:
        write_whole(target, content)


def find_known(path: Path, which: str = "last") -> Known:
    """Return the checkpoint that `path` means: `which` one of a run directory, or the folder of a checkpoint.

    CheckpointError: there is none, it is damaged, or its run directory lacks what is needed to use it.
    """
    if (path / RUN_FILE).is_file():
        directory = RunDirectory(path)
        found = find_checkpoint(directory, which)
    elif (path / MANIFEST).is_file():
        found = checkpoint.verify(path)
        directory = RunDirectory(path.resolve().parent.parent)
    else:
        raise CheckpointError(
            f"{path}: is neither a run directory nor the folder of a checkpoint",
            next=f"give the folder with {RUN_FILE} in it, or a step_… folder below its checkpoints/",
        )
    if not directory.run_file.is_file():
        raise CheckpointError(
            f"{path}: there is no {RUN_FILE} in {directory.root}, so the model is not known",
            next="keep a checkpoint where its run has it: RUN/checkpoints/step_…, beside RUN/run.yaml",
        )
    return Known(load(directory.run_file), directory, found, *read_notes(directory))


def read_notes(directory: RunDirectory) -> tuple[Grid, Metadata, list[str]]:
    """Return what `write_notes` left: how rows are drawn, their sizes, and names of the puzzles.

    CheckpointError: not all of it is there.
    """
    try:
        content: Any = json.loads(directory.data_manifest.read_bytes())
        dataset = content["dataset"]
        windows = tuple((int(side), int(rows)) for side, rows in dataset.get("windows", ()))
        metadata = Metadata(**{**dataset, "sets": tuple(dataset["sets"]), "windows": windows})
        grid = Grid(**content["grid"])
        names = ["<blank>"] if metadata.num_puzzle_identifiers == 1 else read_identifiers(directory.root)
    except (OSError, ValueError, TypeError, KeyError, DataError) as error:
        raise _lacking(directory, "what the run was trained on", error) from error
    if len(names) != metadata.num_puzzle_identifiers:
        raise CheckpointError(
            f"{directory.identifiers}: has {len(names)} names, {directory.data_manifest.name} says"
            f" {metadata.num_puzzle_identifiers}",
            next="take both files from the same run",
        )
    return grid, metadata, names
