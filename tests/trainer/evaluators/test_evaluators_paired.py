"""Differences between two models on the same items."""

import numpy as np
import pytest

from trainer.evaluators.paired import Right, difference
from trmkit.errors import DataError


def answers(seed: int, share: float, items: int = 200, conditions: int = 5) -> Right:
    draw = np.random.default_rng(seed)
    return {f"c{number}": draw.random(items) < share for number in range(conditions)}


def test_the_same_answers_differ_by_nothing() -> None:
    mine = answers(0, 0.5)
    found = difference([(mine, mine)])
    assert found is not None
    assert (found.mean, found.low, found.high) == (0, 0, 0)
    assert not found.shown


def test_a_large_difference_is_shown_and_an_accident_is_not() -> None:
    better = difference([(answers(seed, 0.8), answers(seed + 9, 0.5)) for seed in range(3)])
    assert better is not None
    assert better.shown
    assert better.low > 0.2
    assert better.mean == pytest.approx(0.3, abs=0.05)
    same = difference([(answers(seed, 0.5, 40), answers(seed + 9, 0.5, 40)) for seed in range(3)])
    assert same is not None
    assert not same.shown


def test_three_seeds_claim_a_difference_that_is_none_seldom() -> None:
    shown = 0
    for trial in range(60):
        draw = np.random.default_rng(trial)
        pairs = []
        for gap in draw.normal(0, 0.06, 3):
            first, second = ({f"c{c}": draw.random(100) < 0.5 + side * gap / 2 for c in range(8)} for side in (1, -1))
            pairs.append((first, second))
        found = difference(pairs)
        assert found is not None
        shown += found.shown
    assert shown <= 8  # of 60; seeds drawn again like items would claim every fourth


def test_runs_that_were_asked_different_items_are_not_compared() -> None:
    with pytest.raises(DataError, match="c0: runs were scored on different items"):
        difference([(answers(0, 0.5), answers(1, 0.5, items=10))])


def test_seeds_that_disagree_widen_the_interval() -> None:
    agree = difference([(answers(seed, 0.6), answers(seed + 9, 0.5)) for seed in range(4)])
    split = [(answers(seed, share), answers(seed + 9, 0.5)) for seed, share in enumerate((0.2, 0.4, 0.8, 1.0))]
    disagree = difference(split)
    assert agree is not None
    assert disagree is not None
    assert agree.shown
    assert not disagree.shown
    assert disagree.high - disagree.low > 3 * (agree.high - agree.low)


def test_only_conditions_that_both_have_are_compared() -> None:
    mine, theirs = answers(0, 1.0), answers(1, 0.0)
    found = difference([(mine | {"alone": np.zeros(10, bool)}, theirs)])
    assert found is not None
    assert found.mean == 1
    assert difference([({"a": np.ones(3, bool)}, {"b": np.ones(3, bool)})]) is None
    assert difference([]) is None


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    held = 0
    for trial in range(40):
        draw = np.random.default_rng(trial)
        first, second = ({"c": draw.random(300) < share} for share in (0.6, 0.5))
        found = difference([(first, second)])
        assert found is not None
        held += found.low <= 0.1 <= found.high
    assert held >= 36
