"""A data set somebody else built, in the layout of the reference code. It is checked and never written."""

from pathlib import Path

from trainer.data.manifest import NAME
from trainer.data.store import SET, check_values, read_identifiers, read_split
from trmkit.errors import DataError

ROWS_AT_ONCE = 65_536
BESIDE = ("identifiers.json", "test_puzzles.json", NAME)
"""Files beside the splits; the last two need not be there."""


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files that make the data set in `folder`, by their names in it: those of its splits and beside them.

    What else lies there is no part of it.
    """
    places = [folder / name for name in BESIDE]
    places += [file for split in ("train", "test") for file in sorted((folder / split).glob(f"{SET}__*.npy"))]
    places += [folder / split / "dataset.json" for split in ("train", "test")]
    return {file.relative_to(folder).as_posix(): file for file in places}


def check(folder: Path) -> Path:
    """Return `folder` after a look at every file and every token in it.

    DataError: a file is missing, damaged or at odds with another; or `train` and `test` do not belong together.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", next="set data.path to the folder that holds train/ and test/")
    splits = {name: read_split(folder, name) for name in ("train", "test")}
    train, test = (split.metadata for split in splits.values())
    for name in ("vocab_size", "seq_len", "ignore_label_id", "num_puzzle_identifiers"):
        if getattr(train, name) != getattr(test, name):
            raise DataError(
                f"{folder}: train says {name} {getattr(train, name)}, test says {getattr(test, name)}",
                next="take both splits from the same build",
            )
    names = len(read_identifiers(folder))
    if names != train.num_puzzle_identifiers:
        raise DataError(
            f"{folder / 'identifiers.json'}: names {names} identifiers, dataset.json counts"
            f" {train.num_puzzle_identifiers}",
            next="take identifiers.json from the same build",
        )
    for split, found in splits.items():
        for array in ("inputs", "labels"):
            for start in range(0, len(found), ROWS_AT_ONCE):
                rows = getattr(found, array)[start : start + ROWS_AT_ONCE]
                check_values(folder / split / f"{SET}__{array}.npy", rows, found.metadata.vocab_size)
    return folder
