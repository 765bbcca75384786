"""The variants of an ARC task, and the way back."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.augment import INVERSE_TURN, augment, dihedral, undo, variant_names


def test_the_eight_turns_equal_the_reference(vectors: Path) -> None:
    found = np.load(vectors / "arc_dihedral.npz", allow_pickle=False)
    for turn in range(8):
        np.testing.assert_array_equal(dihedral(found["base"], turn), found[f"dihedral_{turn}"])
    assert found["inverse_table"].tolist() == list(INVERSE_TURN)


def test_variants_and_their_names_equal_the_reference(vectors: Path) -> None:
    found = json.loads((vectors / "arc_aug_seed123.json").read_text())
    base = np.array(found["base"], np.uint8)
    draw = np.random.RandomState(123)
    for variant in found["augs"]:
        turn = draw.randint(0, 8)
        colours = np.concatenate([[0], draw.permutation(np.arange(1, 10))])
        assert variant_names("deadbeef", [turn], [colours]) == [variant["name"]]
        assert augment(base, turn, colours).tolist() == variant["out"]
        task, back = undo(variant["name"])
        assert task == "deadbeef"
        np.testing.assert_array_equal(back(np.array(variant["out"], np.uint8)), base)


@given(
    st.integers(1, 8), st.integers(1, 8), st.integers(0, 7), st.permutations(range(1, 10)), st.integers(0, 2**32 - 1)
)
def test_a_variant_is_undone_by_its_name(height: int, width: int, turn: int, colours: list[int], seed: int) -> None:
    grid = np.random.default_rng(seed).integers(0, 10, (height, width)).astype(np.uint8)
    (name,) = variant_names("a task", [turn], [[0, *colours]])
    task, back = undo(name)
    assert task == "a task"
    np.testing.assert_array_equal(back(augment(grid, turn, [0, *colours])), grid)


def test_the_name_of_a_task_is_its_own_variant() -> None:
    task, back = undo("00576224")
    assert task == "00576224"
    assert back(np.ones((2, 3), np.uint8)).shape == (2, 3)


@pytest.mark.parametrize(
    "name",
    [
        "a|||t8|||0123456789",
        "a|||t1|||012345678",
        "a|||t1|||0123456788",
        "a|||1|||0123456789",
        "a|||t1",
        "a|||t1|||x|||y",
    ],
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a variant"):
        undo(name)
