"""What a generated text answers, and whether that is right."""

import re
from dataclasses import dataclass

NUMBERS = ("mod_add", "parity", "addition", "multiplication", "chain", "successor")
"""Tasks whose answer is a whole number."""


@dataclass(frozen=True)
class Verdict:
    """What is to be said of an answer."""

    right: bool
    parsed: bool
    """Whether it is an answer at all, right or wrong."""


def judge(task: str, truth: str, text: str) -> Verdict:
    """Judge `text`, the generated answer to an item of `task` whose answer is `truth`."""
    found = parse(task, text)
    return Verdict(found is not None and found == parse(task, truth), found is not None)


def parse(task: str, text: str) -> str | None:
    """Return what the first line of `text` answers, in one spelling; None: it answers nothing.

    Numbers: the first whole number with its sign. Dyck: yes or no. Comparison: the sign. Others: all digits, one space
    apart.
    """
    line = " ".join(text.strip().split("\n")[0].split())
    if task in NUMBERS:
        number = re.search(r"-?\d+", line)
        return None if number is None else str(int(number[0]))
    if task == "dyck":
        word = re.match(r"\W*(yes|no)\b", line.lower())
        return None if word is None else word[1]
    if task == "compare":
        sign = re.match(r"[<>=]", line)
        return None if sign is None else sign[0]
    digits = re.sub(r"[^\d ]", "", line)
    return " ".join(digits.split()) or None
