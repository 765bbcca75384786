"""What a generated text answers."""

import pytest

from trainer.evaluators.answers import judge, parse


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        ("addition", " 12", "12"),
        ("addition", " The sum is 0012.", "12"),
        ("chain", " -7 and 9", "-7"),
        ("parity", " one", None),
        ("dyck", " Yes.", "yes"),
        ("dyck", " nobody knows", None),
        ("compare", " >", ">"),
        ("compare", " greater", None),
        ("copy", " 1  2 3 ", "1 2 3"),
        ("reverse", " 1, 2", "1 2"),
        ("copy", "", None),
        ("successor", " 10\n11", "10"),
    ],
)
def test_the_first_line_is_read_as_the_task_answers(task: str, text: str, said: str | None) -> None:
    assert parse(task, text) == said


def test_digits_in_another_order_or_number_are_wrong() -> None:
    assert judge("copy", " 1 2 3", " 1 2 3").right
    assert not judge("copy", " 1 2 3", " 1 3 2").right
    assert not judge("copy", " 1 2 3", " 1 2 3 3").right
    assert not judge("copy", " 1 2 3", " 123").right


def test_what_cannot_be_read_is_wrong_and_counted_as_no_answer() -> None:
    verdict = judge("dyck", " no", " ???")
    assert not verdict.right
    assert not verdict.parsed
    assert judge("dyck", " no", " yes").parsed
