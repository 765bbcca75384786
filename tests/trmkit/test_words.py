"""Sizes read the same in every command."""

import pytest

from trmkit.words import size


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 << 20, "5.0 MiB"),
        (1_639_000_000, "1.53 GiB"),
        (3 << 40, "3072.00 GiB"),
    ],
)
def test_a_size_has_the_largest_unit_that_leaves_one_or_more(count: int, words: str) -> None:
    assert size(count) == words
