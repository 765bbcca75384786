"""Ten tasks: right answers, the same from the same numbers, and items that have the property they are named after."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.algorithmic.grid import WITHIN, Condition, HeldOut, Item, conditions, item_values, items
from trainer.data.algorithmic.lettering import EMPTY, strings
from trainer.data.algorithmic.tasks import LONGEST, Limits, draw, fingerprints
from trainer.data.algorithmic.wording import WORDINGS, templates_of, worded
from trainer.data.counter import Counted, Int64, key_of, permuted
from trmkit.errors import DataError
from trmkit.spec.curriculum import TASKS, Task

GRID = conditions(TASKS)
NAMES = [f"{condition.task} {condition.name}" for condition in GRID]


def numbers_in(text: str) -> list[int]:
    return [int(word) for word in re.findall(r"\d+", text)]


def asked(prompt: str) -> str:
    """Return a question without the words and digits that are the same in all."""
    return prompt.removesuffix(" Answer:").replace("odd (1) or even (0)?", "").replace("modulo 2.", "")


def balanced(brackets: str) -> bool:
    while "()" in brackets or "[]" in brackets:
        brackets = brackets.replace("()", "").replace("[]", "")
    return not brackets


def brackets_in(prompt: str) -> str:
    return "".join(re.findall(r"[()\[\]]", prompt))


def deepest(brackets: str) -> int:
    return max(sum(1 if one in "([" else -1 for one in brackets[:end]) for end in range(len(brackets) + 1))


SOLVED: dict[Task, Callable[[str], str]] = {
    "mod_add": lambda text: str(sum(numbers_in(text)[:2]) % numbers_in(text)[2]),
    "parity": lambda text: str(sum(numbers_in(text)) % 2),
    "addition": lambda text: str(sum(numbers_in(text))),
    "multiplication": lambda text: str(numbers_in(text)[0] * numbers_in(text)[1]),
    "copy": lambda text: " ".join(map(str, numbers_in(text))),
    "reverse": lambda text: " ".join(map(str, reversed(numbers_in(text)))),
    "dyck": lambda text: "yes" if balanced(brackets_in(text)) else "no",
    "chain": lambda text: str(eval(re.findall(r"\d[\d +-]*\d", text)[0])),
    "compare": lambda text: "<=>"[int(np.sign(numbers_in(text)[0] - numbers_in(text)[1])) + 1],
    "successor": lambda text: str(numbers_in(text)[0] + 1),
}


def draws_of(task: Task, indices: list[int], seed: int = 0) -> Counted:
    return Counted.of(key_of(seed, task), indices)


def trained(task: Task, count: int, seed: int = 0) -> tuple[Int64, Int64]:
    """Return examples of all difficulties and the templates that ask for them."""
    draws = draws_of(task, list(range(count)), seed)
    difficulty = np.linspace(0, 1, count)
    return draw(task, draws, difficulty), np.arange(count) % templates_of(task)


@pytest.mark.parametrize("task", TASKS)
def test_every_answer_is_right_whatever_way_it_is_asked_for(task: Task) -> None:
    prompts, answers = (strings(table) for table in worded(task, *trained(task, 800)))
    assert 3 <= templates_of(task) <= 5
    for prompt, answer in zip(prompts, answers, strict=True):
        assert prompt.endswith(" Answer:")
        assert answer == " " + SOLVED[task](asked(prompt)), prompt


@pytest.mark.parametrize("condition", GRID, ids=NAMES)
def test_every_item_has_the_right_answer_and_asks_in_the_one_way(condition: Condition) -> None:
    begins = WORDINGS[condition.task].templates[0].split("{}")[0]
    for item in items(condition, 1234, 60):
        assert item.prompt.startswith(begins)
        assert item.answer == " " + SOLVED[condition.task](asked(item.prompt))


@given(st.sampled_from(TASKS), st.integers(0, 2**40), st.integers(0, 2**31), st.floats(0, 1))
def test_an_example_made_alone_is_the_one_made_among_many(task: Task, index: int, seed: int, difficulty: float) -> None:
    many = [index + step for step in (3, 0, 7, 1, 100)]
    together = draw(task, draws_of(task, many, seed), np.full(5, difficulty))
    alone = draw(task, draws_of(task, [index], seed), np.array([difficulty]))
    assert np.array_equal(together[1:2], alone)
    template = np.array([index % templates_of(task)])
    for table, of_many in zip(worded(task, alone, template), worded(task, together, template.repeat(5)), strict=True):
        assert strings(table)[0] == strings(of_many)[1]
    prompt, answer = (strings(table)[0] for table in worded(task, alone, template))
    assert answer == " " + SOLVED[task](asked(prompt))


@pytest.mark.parametrize("condition", GRID, ids=NAMES)
def test_an_item_depends_on_seed_plus_number_alone(condition: Condition) -> None:
    found = items(condition, 40, 12)
    assert items(condition, 40, 5) == found[:5]
    assert [items(condition, 40 + number, 1)[0] for number in range(12)] == found


def test_the_grid_has_fifty_conditions_with_some_like_training_in_each_task() -> None:
    assert len(GRID) == 50
    inside = [(condition.task, condition.name) for condition in GRID if condition.iid]
    assert [task for task, name in inside if (task, name) not in WITHIN] == list(TASKS)
    assert len(inside) == len(TASKS) + len(WITHIN)
    assert list(dict.fromkeys(condition.task for condition in GRID)) == list(TASKS)
    assert len(set(NAMES)) == 50
    assert {c.task for c in conditions(["copy", "parity"])} == {"copy", "parity"}


def of(task: Task, *, begins: str = "") -> list[tuple[Condition, list[Item]]]:
    return [(c, items(c, 1234, 100)) for c in GRID if c.task == task and c.name.startswith(begins)]


@pytest.mark.parametrize("task", ["parity", "copy", "reverse"])
def test_items_have_as_many_digits_as_their_condition_says(task: Task) -> None:
    for condition, found in of(task):
        assert {len(numbers_in(asked(item.prompt))) for item in found} == {condition.length}


@pytest.mark.parametrize("task", ["addition", "multiplication", "compare", "successor"])
def test_numbers_beyond_training_have_exactly_the_digits_of_their_condition(task: Task) -> None:
    for condition, found in of(task):
        lengths = {len(str(number)) for item in found for number in numbers_in(asked(item.prompt))}
        assert max(lengths) == condition.length
        if not condition.iid:
            assert lengths == {condition.length}


def test_carries_are_of_large_digits_and_the_modulus_is_the_one_named() -> None:
    for _, found in of("addition", begins="carry"):
        assert all(set("".join(map(str, numbers_in(item.prompt)))) <= set("789") for item in found)
    for condition, found in of("mod_add"):
        assert {numbers_in(item.prompt)[2] for item in found} == {int(condition.name.split()[1])}
        assert all(max(numbers_in(item.prompt)[:2]) < int(condition.name.split()[1]) for item in found)


def test_brackets_really_reach_their_depth_and_every_other_item_is_balanced() -> None:
    for condition, found in of("dyck"):
        assert [item.answer for item in found].count(" yes") == len(found) // 2
        for item in found:
            text = brackets_in(item.prompt)
            wanted = condition.limits.depth
            assert wanted is not None
            if item.answer == " yes":
                assert (len(text), deepest(text)) == (condition.length, wanted)
            else:
                assert abs(len(text) - condition.length) <= 1
                assert wanted <= deepest(text) <= wanted + 1


def test_chains_have_their_operations_operands_and_signs() -> None:
    for condition, found in of("chain"):
        chains = [re.findall(r"[\d]+", item.prompt) for item in found]
        assert {len(chain) - 1 for chain in chains} == {condition.length}
        largest = condition.limits.numbers
        assert largest is not None
        operands = [int(operand) for chain in chains for operand in chain[1:]]
        assert largest[1] * 0.9 <= max(operands) <= largest[1]
        for item in found:
            words = item.prompt.removeprefix("What is ").split("?")[0].split()
            partial = [eval(" ".join(words[: end + 1])) for end in range(0, len(words), 2)]
            assert (partial[-1] < 0) if condition.limits.negatives else (min(partial) >= 0)


def test_training_keeps_to_the_sizes_of_its_steps() -> None:
    for difficulty, digits, brackets, operations in ((0.1, (4, 6), (6, 10), (2, 3)), (0.9, (11, 14), (18, 30), (5, 8))):
        level = np.full(500, difficulty)
        lengths = (draw("copy", draws_of("copy", list(range(500))), level) >= 0).sum(axis=1)
        assert (lengths.min(), lengths.max()) == digits
        dyck = draw("dyck", draws_of("dyck", list(range(500))), level)
        whole = (dyck[dyck[:, 0] == 1, 1:] >= 0).sum(axis=1)
        assert (whole.min(), whole.max()) == brackets
        chain = draw("chain", draws_of("chain", list(range(500))), level)
        counts = (chain > np.iinfo(np.int64).min).sum(axis=1) - 1
        assert (counts.min(), counts.max()) == operations
    bits = (draw("parity", draws_of("parity", list(range(500))), np.ones(500)) >= 0).sum(axis=1)
    assert (bits.min(), bits.max()) == (2, LONGEST["parity"])


def test_limits_are_kept_whatever_the_difficulty() -> None:
    draws = draws_of("dyck", list(range(50)))
    for difficulty in (0.0, 0.5, 1.0):
        found = draw("dyck", draws, np.full(50, difficulty), Limits(length=20, depth=7))
        for row in found[found[:, 0] == 1]:
            text = "".join("([)]"[code] for code in row[1:] if code >= 0)
            assert (len(text), deepest(text), balanced(text)) == (20, 7, True)


@pytest.mark.parametrize("task", TASKS)
def test_no_training_example_is_an_item(task: Task) -> None:
    held_out = HeldOut(TASKS, 1234, 200)
    known = {row for c in GRID if c.task == task for row in fingerprints(task, item_values(c, 1234, 200)).tolist()}
    draws = draws_of(task, list(range(20_000)), 9)
    difficulty = draws_of(task, list(range(20_000)), 10).fractions(0)
    plain = fingerprints(task, draw(task, draws, difficulty))
    kept = fingerprints(task, held_out.draw(task, draws, difficulty))
    assert known.isdisjoint(kept.tolist())
    if task in ("parity", "successor", "mod_add", "multiplication"):  # else the proof would prove nothing
        assert not known.isdisjoint(plain.tolist())
    same = ~np.isin(plain, np.array(list(known), np.uint64))
    assert np.array_equal(plain[same], kept[same])


@pytest.mark.parametrize("task", ["mod_add", "addition", "multiplication", "compare"])
def test_what_tells_the_answer_of_an_item_with_its_numbers_swapped_is_held_out_too(task: Task) -> None:
    held_out = HeldOut([task], 1234, 200)
    for condition in (c for c in GRID if c.task == task):
        values = item_values(condition, 1234, 200)
        swapped = values.copy()
        swapped[:, :2] = values[:, 1::-1]
        assert (values[:, 0] != values[:, 1]).sum() > 100
        assert held_out.holds(task, swapped).all(), condition.name


def space_of(task: Task) -> Int64:
    """Return all examples of a task that has few."""
    if task == "parity":
        return np.array(
            [
                [number >> bit & 1 if bit < length else EMPTY for bit in range(8)]
                for length in range(2, 9)
                for number in range(2**length)
            ]
        )
    if task == "successor":
        return np.arange(1001)[:, None]
    end = 97 if task == "mod_add" else 100
    pairs = np.stack(np.meshgrid(np.arange(end), np.arange(end)), axis=-1).reshape(-1, 2)
    return np.column_stack([pairs, np.full(len(pairs), end)]) if task == "mod_add" else pairs


@pytest.mark.parametrize(
    ("task", "left"), [("parity", 455), ("successor", 878), ("mod_add", 9049), ("multiplication", 9619)]
)
def test_training_keeps_most_of_a_small_space(task: Task, left: int) -> None:
    space = space_of(task)
    assert (~HeldOut([task], 1234, 200).holds(task, space)).sum() == left
    kept = (~HeldOut([task], 1234, 20_000).holds(task, space)).sum()
    assert kept >= 0.7 * len(space), "however many items there are, training keeps its part"


def test_an_example_that_cannot_be_drawn_otherwise_is_an_error_and_not_an_endless_loop() -> None:
    held_out = HeldOut(["parity"], 1234, 10)
    draws = draws_of("parity", [0])
    held_out.holds = lambda task, values: np.ones(len(values), np.bool_)  # type: ignore[method-assign]
    with pytest.raises(DataError, match=r"parity: .*\n.*next: lower data\.items"):
        held_out.draw("parity", draws, np.zeros(1))


def test_draws_are_even_and_go_from_end_to_end() -> None:
    found = Counted.of(key_of(0, "x"), np.arange(60_000)).between(0, -2, 3)
    assert np.bincount(found + 2, minlength=6).min() > 9_600
    fractions = Counted.of(key_of(0, "x"), np.arange(60_000)).fractions(1)
    assert abs(fractions.mean() - 0.5) < 0.01
    assert 0 <= fractions.min() < 0.001
    assert 0.999 < fractions.max() < 1


@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_a_permutation_has_every_place_once(count: int, seed: int) -> None:
    key = key_of(seed, "order")
    whole = permuted(np.arange(count), count, key)
    assert np.array_equal(np.sort(whole), np.arange(count))
    assert permuted(np.array([count - 1]), count, key)[0] == whole[-1]
