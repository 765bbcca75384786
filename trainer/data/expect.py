"""How large a data set is, or will be: read when it is built, foretold from its section when it is not."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from trainer.data import place_of
from trainer.data.arc import choose_tasks, ignored, window_of
from trainer.data.curriculum import first_phase, foretold
from trainer.data.grid import VOCAB_SIZE
from trainer.data.manifest import read_manifest
from trainer.data.store import SET, Metadata, read_metadata, read_split
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.data import ArcData, DataSection, FolderData, MazeData, MazeGeneratedData, MixedData, SudokuData

SUDOKU_EXTREME = (3_831_994, 9)
"""Training puzzles of the full Sudoku-Extreme, and the side."""
MAZE_HARD = (1_000, 30)
"""Training mazes of Maze-Hard, and the side."""


def expected(section: DataSection, root: Path) -> tuple[Metadata, int, bool]:
    """Return metadata and rows of the training split, and whether they were read from a built data set.

    Foretold numbers are those of complete augmentation: an upper bound for ARC, where some tasks have fewer variants.
    """
    if isinstance(section, FolderData):
        split = read_split(Path(section.path), "train")
        return split.metadata, len(split), True
    folder = place_of(section, root)
    if isinstance(section, CurriculumData) and read_manifest(folder) is not None:
        return read_metadata(folder), first_phase(section), True
    if read_manifest(folder) is not None:
        split = read_split(folder, "train")
        return split.metadata, len(split), True
    metadata, rows = _foretell(section, root)
    return metadata, rows, False


def _foretell(section: DataSection, root: Path) -> tuple[Metadata, int]:
    if isinstance(section, MixedData):
        return _foretell_mixed(section, root)
    if isinstance(section, ArcData):
        return _foretell_arc(section)
    if isinstance(section, CurriculumData):
        return foretold(section)
    if isinstance(section, MazeData):
        groups, side, vocab, copies = (
            section.subsample_size or MAZE_HARD[0],
            MAZE_HARD[1],
            6,
            8 if section.dihedral else 1,
        )
    elif isinstance(section, MazeGeneratedData):
        groups, side, vocab, copies = section.train_puzzles, section.side, 6, 8 if section.dihedral else 1
    elif isinstance(section, SudokuData):
        groups, side = section.subsample_size or SUDOKU_EXTREME[0], SUDOKU_EXTREME[1]
        vocab, copies = side + 2, section.num_aug + 1
    else:
        assert not isinstance(section, FolderData)
        groups, side = section.train_puzzles, section.side
        vocab, copies = side + 2, section.num_aug + 1
    return _metadata(vocab, side * side, 1, groups, 1.0, groups * copies), groups * copies


def _foretell_mixed(section: MixedData, root: Path) -> tuple[Metadata, int]:
    parts = [expected(part, root) for part in section.parts]
    found, rows = [metadata for metadata, _, _ in parts], sum(rows for _, rows, _ in parts)
    puzzles = sum(part.total_puzzles for part in found)
    identifiers = 1 + sum(part.num_puzzle_identifiers - 1 for part in found)
    groups = sum(part.total_groups for part in found)
    return _metadata(found[0].vocab_size, found[0].seq_len, identifiers, groups, rows / puzzles, puzzles), rows


def _foretell_arc(section: ArcData) -> tuple[Metadata, int]:
    tasks, _ = choose_tasks(section)
    copies = section.num_aug + 1
    held_out = [collection == section.test for collection, _ in tasks]
    pairs = [len(t.train) + (0 if out else len(t.test)) for out, (_, t) in zip(held_out, tasks, strict=True)]
    rows = sum(pairs) * copies
    mean = rows / max(1, len(tasks) * copies)
    metadata = _metadata(VOCAB_SIZE, section.canvas**2, len(tasks) * copies + 1, len(tasks), mean, len(tasks) * copies)
    metadata = replace(metadata, ignore_label_id=ignored(section.layout))
    if section.window == "full":
        return metadata, rows
    found: Counter[int] = Counter()
    for out, (_, task), count in zip(held_out, tasks, pairs, strict=True):
        found[window_of(section, task, held_out=out)] += count
    return replace(metadata, windows=tuple(sorted(found.items()))), rows


def _metadata(vocab: int, cells: int, identifiers: int, groups: int, mean: float, puzzles: int) -> Metadata:
    return Metadata(0, 0, 0, vocab, cells, identifiers, groups, mean, puzzles, (SET,))
