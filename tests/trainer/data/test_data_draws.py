"""Random numbers and compiled functions."""

import numpy as np

from trainer.data.compiled import compiled
from trainer.data.draws import generator


def test_the_same_seed_and_purpose_give_the_same_numbers() -> None:
    np.testing.assert_array_equal(generator(3, "a", 1).random(5), generator(3, "a", 1).random(5))


def test_another_seed_or_purpose_gives_other_numbers() -> None:
    found = {generator(*key).random() for key in ((3, "a"), (4, "a"), (3, "b"), (3, "a", 0), (3, "a", 1), (2**70, "a"))}
    assert len(found) == 6


def test_a_function_whose_machine_code_cannot_be_kept_is_compiled_all_the_same() -> None:
    nowhere = compiled(eval("lambda x: x + 1"))
    assert nowhere(2) == 3
    assert nowhere.signatures
