"""Trains as `python -m trainer` does, on a machine that breaks: after NUMBER updates a weight is no number any more.

python -m tests.observe.faulty NUMBER run RUN.yaml
"""

import sys
from itertools import count
from typing import Any

from trainer.__main__ import main
from trainer.state import TrainState


def broken_after(number: int) -> None:
    """Let a weight become NaN after `number` updates of this process, as a broken GPU does."""
    whole, made = TrainState.update, count()

    def update(state: TrainState, *arguments: Any, **options: Any) -> Any:
        if next(made) == number:
            state.model.get_parameter("inner.lm_head.weight").data[0, 0] = float("nan")
        return whole(state, *arguments, **options)

    TrainState.update = update  # type: ignore[method-assign]


if __name__ == "__main__":
    broken_after(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
