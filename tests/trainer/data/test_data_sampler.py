"""The order of an epoch: every group once, a whole puzzle at a time, and nothing but seed and epoch decide."""

import numpy as np
import pytest

from trainer.data.sampler import epoch_rows, original_rows
from trainer.data.store import Metadata, Split


def split_of(groups: list[list[int]]) -> Split:
    """Return a split whose groups are puzzles of these numbers of rows."""
    sizes = [rows for group in groups for rows in group]
    metadata = Metadata(0, 0, 0, 3, 4, len(sizes) + 1, len(groups), 1.0, len(sizes), ("all",))
    rows = np.zeros((sum(sizes), 4), np.uint8)
    return Split(
        metadata,
        rows,
        rows,
        np.arange(1, len(sizes) + 1, dtype=np.int32),
        np.cumsum([0, *sizes]).astype(np.int32),
        np.cumsum([0, *(len(group) for group in groups)]).astype(np.int32),
    )


@pytest.fixture
def split() -> Split:
    draw = np.random.default_rng(0)
    return split_of([draw.integers(1, 5, draw.integers(1, 6)).tolist() for _ in range(200)])


def test_an_epoch_takes_one_whole_puzzle_of_every_group(split: Split) -> None:
    rows = epoch_rows(split, seed=3, epoch=5)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == len(rows)
    puzzles = np.searchsorted(split.puzzle_indices, rows, side="right") - 1
    runs = puzzles[np.flatnonzero(np.diff(puzzles, prepend=-1))]
    assert len(runs) == len(set(runs.tolist())) == 200
    groups = np.searchsorted(split.group_indices, runs, side="right") - 1
    assert sorted(groups.tolist()) == list(range(200))
    assert len(rows) == np.diff(split.puzzle_indices)[runs].sum()


def test_groups_and_rows_come_in_random_order(split: Split) -> None:
    rows = epoch_rows(split, seed=3, epoch=5)
    puzzles = np.searchsorted(split.puzzle_indices, rows, side="right") - 1
    groups = np.searchsorted(split.group_indices, puzzles, side="right") - 1
    assert (np.diff(groups) < 0).mean() > 0.1
    within = np.diff(rows)[np.diff(puzzles) == 0]
    assert (within < 0).any()
    assert (within > 0).any()


def test_an_epoch_is_a_function_of_seed_and_epoch_alone(split: Split) -> None:
    first = epoch_rows(split, 1, 7)
    epoch_rows(split, 1, 8)
    np.random.default_rng(1).random(3)
    np.testing.assert_array_equal(first, epoch_rows(split, 1, 7))
    for seed, epoch in ((1, 8), (2, 7), (7, 1)):
        assert not np.array_equal(first, epoch_rows(split, seed, epoch))


def test_over_many_epochs_every_puzzle_of_a_group_has_its_turn() -> None:
    split = split_of([[2, 1, 3], [1]])
    seen = np.bincount(np.concatenate([epoch_rows(split, 0, epoch) for epoch in range(600)]), minlength=7)
    assert seen[6] == 600
    assert len(set(seen[:2])) == len(set(seen[3:6])) == 1
    assert all(150 < seen[row] < 250 for row in (0, 2, 3))


def test_a_huge_seed_is_fine() -> None:
    assert sorted(epoch_rows(split_of([[1], [1]]), 2**80, 2**40).tolist()) == [0, 1]


def test_original_rows_are_of_the_first_puzzle_of_each_group() -> None:
    split = split_of([[2, 1, 1], [1, 5], [1]])
    assert original_rows(split, 100).tolist() == [0, 1, 4, 10]
    assert original_rows(split, 2).tolist() == [0, 4]
    assert original_rows(split, 0).tolist() == []


def test_original_rows_are_spread_evenly_over_the_groups() -> None:
    split = split_of([[1, 1]] * 100)
    assert original_rows(split, 10).tolist() == list(range(0, 200, 20))


def test_one_limit_for_all_groups_draws_what_a_limit_for_each_draws() -> None:
    for size in (1, 3, 1001, 2**31 - 1):
        one, each = np.random.default_rng(5), np.random.default_rng(5)
        assert one.integers(0, size, 500).tolist() == each.integers(0, np.full(500, size)).tolist()
        assert one.random() == each.random()
