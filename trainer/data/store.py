"""A data set on a disk, in the layout of the TRM and HRM reference code.

`<folder>/{train,test}/` hold `dataset.json` and five arrays; `<folder>/identifiers.json` names the puzzle identifiers.
Legend: N rows (one input with its label), L cells of a row, P puzzles (one augmentation each), G groups (one original
puzzle with all its augmentations). `puzzle_indices` [P + 1] are offsets into rows, `group_indices` [G + 1] of puzzles.
Sudokus that are augmented on the fly have boards and the number of a symmetry for each row in place of two of the
arrays (`sudoku_virtual`): that is no layout of the reference.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from trmkit.errors import DataError
from trmkit.store.local import sync as sync_path

if TYPE_CHECKING:  # numba, which most that open a data set do without
    from trainer.data.sudoku_virtual import Shuffled

Int32 = npt.NDArray[np.int32]
Tokens = npt.NDArray[Any]

SET = "all"
SYMMETRIES = "symmetries"
CHECKED_ROWS = 65_536
"""Rows whose values `read_split` looks at, evenly spread: enough to find a wrong file, little enough to be quick."""


@dataclass(frozen=True)
class Metadata:
    """What `dataset.json` says, under the names of the reference."""

    pad_id: int
    ignore_label_id: int | None
    blank_identifier_id: int
    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    total_groups: int
    mean_puzzle_examples: float
    total_puzzles: int
    sets: tuple[str, ...]
    windows: tuple[tuple[int, int], ...] = ()
    """Sides of the windows that rows are worked on in, rising, each with its rows in an epoch; empty: all is seen."""


class Beside(Protocol):
    """Something more that every row has, and that is kept elsewhere."""

    @property
    def identity(self) -> str:
        """What made it: whatever else made it is called otherwise."""

    def get(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return it of `rows` [B], rows first; always of one type, and one shape behind the rows."""


class Table(Protocol):
    """Rows of tokens [N, L]: an array, or what gives the rows of one that is not there."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and cells."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a token, some integer."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return one row [L] or several [n, L]."""


@dataclass(frozen=True)
class Split:
    """One split. `inputs` and `labels` [N, L] are memory-mapped and of any integer type; the rest is in memory."""

    metadata: Metadata
    inputs: Table
    labels: Table
    puzzle_identifiers: Int32
    puzzle_indices: Int32
    group_indices: Int32
    beside: Mapping[str, Beside] = field(default_factory=dict)
    """What a batch has besides questions, answers and identifiers, by its name there."""
    shuffled: "Shuffled | None" = None
    """What `inputs` and `labels` are made of when they are asked for, where they are not stored."""
    windows: Int32 | None = None
    """Side of the window [G] in which the rows of a group are worked on; None: all see the whole canvas."""

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    @cached_property
    def row_identifiers(self) -> Int32:
        """Puzzle identifier of every row, int32 [N]."""
        return np.repeat(self.puzzle_identifiers, np.diff(self.puzzle_indices))

    @cached_property
    def row_windows(self) -> Int32 | None:
        """Side of the window of every row, int32 [N]."""
        return (
            None if self.windows is None else np.repeat(self.windows, np.diff(self.puzzle_indices[self.group_indices]))
        )

    @cached_property
    def group_sizes(self) -> Int32:
        """Puzzles of every group, int32 [G]."""
        return np.diff(self.group_indices)

    @cached_property
    def group_size(self) -> int | None:
        """The same, where all have it; draws with one limit are faster than with a limit each, and are the same."""
        return int(self.group_sizes[0]) if (self.group_sizes == self.group_sizes[0]).all() else None


def create_rows(folder: Path, split: str, rows: int, seq_len: int, vocab_size: int) -> tuple[Tokens, Tokens]:
    """Create `inputs` and `labels` [rows, seq_len] of zeros as files mapped into memory, to be filled in place."""
    path = folder / split
    path.mkdir(parents=True, exist_ok=True)
    dtype = np.uint8 if vocab_size <= 256 else np.int32

    def empty(name: str) -> Tokens:
        return np.lib.format.open_memmap(path / f"{SET}__{name}.npy", mode="w+", dtype=dtype, shape=(rows, seq_len))

    return empty("inputs"), empty("labels")


def finish_split(
    folder: Path,
    split: str,
    *,
    rows: int,
    seq_len: int,
    vocab_size: int,
    num_puzzle_identifiers: int,
    puzzle_identifiers: npt.ArrayLike,
    puzzle_indices: npt.ArrayLike,
    group_indices: npt.ArrayLike,
    ignore_label_id: int | None = 0,
    windows: npt.ArrayLike | None = None,
) -> Metadata:
    """Write the index arrays and `dataset.json` beside the rows that `create_rows` made; return the metadata.

    `windows` [G] are sides, where rows are not worked on whole.
    """
    indices = {
        "puzzle_identifiers": np.asarray(puzzle_identifiers),
        "puzzle_indices": np.asarray(puzzle_indices),
        "group_indices": np.asarray(group_indices),
    }
    if rows > np.iinfo(np.int32).max:
        raise DataError(f"{split}: {rows:,} rows are more than the layout can count", next="lower num_aug")
    puzzles, groups = len(indices["puzzle_identifiers"]), len(indices["group_indices"]) - 1
    metadata = Metadata(
        pad_id=0,
        ignore_label_id=ignore_label_id,
        blank_identifier_id=0,
        vocab_size=vocab_size,
        seq_len=seq_len,
        num_puzzle_identifiers=num_puzzle_identifiers,
        total_groups=groups,
        mean_puzzle_examples=rows / puzzles,
        total_puzzles=puzzles,
        sets=(SET,),
    )
    if windows is not None:
        indices["windows"] = np.asarray(windows)
        metadata = replace(metadata, windows=_rows_by_window(**indices))
    for name, array in indices.items():
        np.save(folder / split / f"{SET}__{name}.npy", array.astype(np.int32))
    said = {name: value for name, value in asdict(metadata).items() if name != "windows" or value}
    (folder / split / "dataset.json").write_text(json.dumps(said))
    return metadata


def _rows_by_window(
    puzzle_indices: Tokens, group_indices: Tokens, windows: Tokens, **_: Tokens
) -> tuple[tuple[int, int], ...]:
    """Return the sides, each with its rows in an epoch, which takes one puzzle of every group."""
    rows = np.diff(puzzle_indices[group_indices]) / np.diff(group_indices)
    return tuple((int(side), max(1, round(rows[windows == side].sum()))) for side in np.unique(windows))


def finish_single_rows(
    folder: Path, split: str, rows: int, seq_len: int, vocab_size: int, rows_per_group: int
) -> Metadata:
    """Finish a split in which every row is a puzzle of its own and none has an identifier (Sudoku, mazes)."""
    return finish_split(
        folder,
        split,
        rows=rows,
        seq_len=seq_len,
        vocab_size=vocab_size,
        num_puzzle_identifiers=1,
        puzzle_identifiers=np.zeros(rows, np.int32),
        puzzle_indices=np.arange(rows + 1),
        group_indices=np.arange(0, rows + 1, rows_per_group),
    )


def write_split(
    folder: Path, split: str, inputs: Tokens, labels: Tokens, vocab_size: int, rows_per_group: int = 1
) -> Metadata:
    """Write a split of `inputs` and `labels` [N, L] as `finish_single_rows` describes it."""
    rows, seq_len = inputs.shape
    into_inputs, into_labels = create_rows(folder, split, rows, seq_len, vocab_size)
    into_inputs[:], into_labels[:] = inputs, labels
    return finish_single_rows(folder, split, rows, seq_len, vocab_size, rows_per_group)


def write_shuffled(folder: Path, split: str, shuffled: "Shuffled", vocab_size: int) -> Metadata:
    """Write a split whose rows are made when they are asked for: boards and symmetries in place of rows."""
    path = folder / split
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / f"{SET}__boards.npy", shuffled.boards)
    np.save(path / f"{SET}__{SYMMETRIES}.npy", shuffled.numbers)
    rows, cells = shuffled.sides[0].shape
    return finish_single_rows(folder, split, rows, cells, vocab_size, rows_per_group=shuffled.copies)


def write_identifiers(folder: Path, names: list[str]) -> None:
    """Write `identifiers.json`: identifier k + 1 is `names[k]`, identifier 0 is blank."""
    (folder / "identifiers.json").write_text(json.dumps(["<blank>", *names]))


def read_identifiers(folder: Path) -> list[str]:
    """Return the name of every puzzle identifier. DataError: the file is missing or holds something else."""
    names = read_json(folder / "identifiers.json")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        _broken(folder / "identifiers.json", "is not a list of names")
    return names


def read_metadata(folder: Path, split: str = "train") -> Metadata:
    """Return what is said of a split, whose rows may be made elsewhere. DataError: the file is missing or damaged."""
    return _read_metadata(folder / split / "dataset.json")


def read_split(folder: Path, split: str) -> Split:
    """Open `split` of the data set in `folder`.

    DataError, naming the file: one is missing or damaged, two disagree, or a value does not belong there.
    """
    path = folder / split
    metadata = _read_metadata(path / "dataset.json")
    shuffled = _read_shuffled(path, metadata)
    inputs, labels = shuffled.sides if shuffled else (_map_array(path, name, 2) for name in ("inputs", "labels"))
    found = Split(
        metadata=metadata,
        inputs=inputs,
        labels=labels,
        shuffled=shuffled,
        puzzle_identifiers=_read_indices(path, "puzzle_identifiers"),
        puzzle_indices=_read_indices(path, "puzzle_indices"),
        group_indices=_read_indices(path, "group_indices"),
        windows=_read_indices(path, "windows") if metadata.windows else None,
    )
    _check_shapes(path, found)
    _check_indices(path, found)
    _check_windows(path, found)
    step = max(1, len(found) // CHECKED_ROWS)
    for name in ("inputs", "labels"):
        check_values(path / f"{SET}__{name}.npy", getattr(found, name)[::step], metadata.vocab_size)
    return found


def read_json(path: Path) -> Any:
    """Return what the JSON file holds. DataError: it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", next="check the folder, or build the data set again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error})", next="build the data set again") from error


def check_values(path: Path, tokens: Tokens, vocab_size: int) -> None:
    """DataError if a value of `tokens` [n, L] is outside the vocabulary."""
    if tokens.size and (int(tokens.min()) < 0 or int(tokens.max()) >= vocab_size):
        _broken(path, f"holds a token outside 0..{vocab_size - 1}, the vocabulary of its dataset.json")


def sync(folder: Path) -> None:
    """Have the disk hold every file below `folder`, and the names of all of them."""
    for path in [*folder.rglob("*"), folder]:
        sync_path(path)


def _read_metadata(path: Path) -> Metadata:
    found = read_json(path)
    names = [one.name for one in fields(Metadata) if one.name != "windows"]
    if not isinstance(found, dict) or set(names) - set(found):
        _broken(path, f"does not hold {', '.join(names)}")
    counts = [found[name] for name in names if name not in ("ignore_label_id", "mean_puzzle_examples", "sets")]
    if not all(type(count) is int and count >= 0 for count in counts) or found["sets"] != [SET]:
        _broken(path, f"holds a count that is not a whole number, or sets other than [{SET!r}]")
    if type(found["ignore_label_id"]) not in (int, type(None)):
        _broken(path, "holds an ignore_label_id that is neither a whole number nor null")
    windows = found.get("windows", [])
    if not all(
        isinstance(one, list) and len(one) == 2 and all(type(n) is int and n > 0 for n in one) for one in windows
    ):
        _broken(path, "holds windows that are not pairs of a side and a number of rows")
    kept = {name: found[name] for name in names if name != "sets"}
    return Metadata(**kept, sets=(SET,), windows=tuple((side, rows) for side, rows in windows))


def _read_shuffled(path: Path, metadata: Metadata) -> "Shuffled | None":
    """Return what rows are made of, None where they are stored."""
    if not (path / f"{SET}__{SYMMETRIES}.npy").exists():
        return None
    from trainer.data.sudoku_virtual import Shuffled

    boards, numbers = _map_array(path, "boards", 2), _map_array(path, SYMMETRIES, 1)
    if boards.dtype != np.uint8 or numbers.dtype != np.int64:
        _broken(path / f"{SET}__boards.npy", f"and {SYMMETRIES} are {boards.dtype} and {numbers.dtype}")
    found = Shuffled(np.array(boards), np.array(numbers))
    wrong = found.wrong(metadata.seq_len)
    if wrong:
        _broken(path / f"{SET}__boards.npy", wrong)
    return found


def _map_array(path: Path, name: str, dimensions: int) -> Tokens:
    file = path / f"{SET}__{name}.npy"
    try:  # open_memmap, not np.load: it reads nothing but .npy, so no pickle, and compares the size with the header
        array: Tokens = np.lib.format.open_memmap(file, mode="r")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file", next="check the folder, or build the data set again") from None
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{file}: not a readable array ({error})", next="build the data set again") from error
    if array.dtype.kind not in "iu" or array.ndim != dimensions:
        _broken(file, f"is {array.ndim}-dimensional {array.dtype}, not {dimensions}-dimensional whole numbers")
    return array


def _read_indices(path: Path, name: str) -> Int32:
    array = _map_array(path, name, 1)
    if array.size and (int(array.min()) < 0 or int(array.max()) > np.iinfo(np.int32).max):
        _broken(path / f"{SET}__{name}.npy", "holds an index that is negative or too large")
    return array.astype(np.int32)


def _check_shapes(path: Path, split: Split) -> None:
    inputs = path / f"{SET}__inputs.npy"
    if split.inputs.shape != split.labels.shape:
        _broken(inputs, f"has shape {split.inputs.shape}, {SET}__labels.npy has {split.labels.shape}")
    if split.inputs.shape[1] != split.metadata.seq_len:
        _broken(inputs, f"has {split.inputs.shape[1]} cells a row, dataset.json says {split.metadata.seq_len}")
    if not len(split):
        _broken(inputs, "has no rows")


def _check_indices(path: Path, split: Split) -> None:
    puzzles = len(split.puzzle_identifiers)
    for name, last in (("puzzle_indices", len(split)), ("group_indices", puzzles)):
        index = getattr(split, name)
        if len(index) < 2 or index[0] != 0 or index[-1] != last or (np.diff(index) < 1).any():
            _broken(path / f"{SET}__{name}.npy", f"does not rise from 0 to {last} step by step")
    if len(split.puzzle_indices) != puzzles + 1:
        _broken(path / f"{SET}__puzzle_indices.npy", f"has {len(split.puzzle_indices)} entries, not {puzzles + 1}")
    if int(split.puzzle_identifiers.max()) >= split.metadata.num_puzzle_identifiers:
        _broken(path / f"{SET}__puzzle_identifiers.npy", "holds an identifier that dataset.json does not count")


def _check_windows(path: Path, split: Split) -> None:
    if split.windows is None:
        return
    said = [side for side, _ in split.metadata.windows]
    if len(split.windows) != len(split.group_indices) - 1 or np.unique(split.windows).tolist() != said:
        _broken(path / f"{SET}__windows.npy", f"does not give every group one of the sides {said} of dataset.json")
    if said[-1] ** 2 > split.metadata.seq_len:
        _broken(path / f"{SET}__windows.npy", "holds a side larger than the canvas")


def _broken(path: Path, what: str) -> NoReturn:
    raise DataError(f"{path}: {what}", next="build the data set again, or mend the folder it was copied from")
