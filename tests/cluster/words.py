"""What is read out of logs and answers."""

import re

STEP = re.compile(r"\bstep (\d+)/\d+\b")


def steps_in(log: str) -> list[int]:
    """Return the updates that a trainer's log reports."""
    return [int(number) for number in STEP.findall(log)]
