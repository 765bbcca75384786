"""Let a model work on rows until each is final, with the places of finished rows given to the next ones.

Legend: `n` rows, `M` supervision steps, `B` rows at once, `L` cells.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.stream import Rows
from trainer.dist import World
from trainer.evaluators.exact import Solved
from trainer.models import TrainableModel
from trainer.models.base import IGNORED_LABEL, Batch, Carry, Step

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """How rows are worked on."""

    steps: int
    """Most supervision steps M of a row."""
    batch_size: int
    """Rows at once, B, on each process."""
    early_exit: float | None = None
    """A row leaves when its `q_halt` is above this; None: after M steps."""
    blank_identifier: int | None = None
    """Replaces every puzzle identifier when given."""


def solve(
    model: TrainableModel,
    rows: Rows,
    wanted: Indices,
    plan: Plan,
    world: World,
    *,
    show: Indices,
    check: Callable[[], None],
) -> Solved:
    """Work on the rows `wanted` [n] of a split and return how each went, in the same order, on every process.

    The cells predicted for the rows `show` are returned too. `check` is called between steps, on every process alike,
    and may raise. A row's numbers do not depend on which rows it shares a batch with.
    """
    mine = wanted[world.rank :: world.size]
    record = _Record(mine, plan.steps, set(show.tolist()))
    work = _Work(model, rows, mine, plan, world.device)
    with torch.no_grad(), _working(model, plan.steps):
        while world.largest(int(work.left())):
            check()
            if work.left():
                record.add(*work.step())
    parts = world.gather_objects(record.solved())
    return _interleave(parts, len(wanted))


class _Work:
    """The rows being worked on. When some leave, the rest close ranks and new ones join behind them."""

    def __init__(self, model: TrainableModel, rows: Rows, wanted: Indices, plan: Plan, device: torch.device) -> None:
        self._model, self._rows, self._wanted, self._plan, self._device = model, rows, wanted, plan, device
        self._next = 0
        self._places = np.empty(0, np.int64)
        self._ages = np.empty(0, np.int64)
        self._batch: Batch | None = None
        self._carry: Carry | None = None

    def left(self) -> bool:
        """Whether there is anything still to do."""
        return self._next < len(self._wanted) or len(self._places) > 0

    def step(self) -> tuple[Indices, Indices, npt.NDArray[np.float32], Tensor, npt.NDArray[np.bool_]]:
        """Work one step; return places in `wanted`, steps worked, numbers [3, B], predictions [B, L], and who left."""
        self._fill()
        assert self._batch is not None
        step = self._model(self._carry, self._batch)
        self._ages = self._ages + 1
        numbers = _numbers(step, self._batch["labels"])
        leaving = self._ages >= self._plan.steps
        if self._plan.early_exit is not None:
            leaving |= numbers[2] > self._plan.early_exit
        if step.carry is None:
            leaving[:] = True
        result = (self._places, self._ages, numbers, step.outputs["preds"], leaving)
        self._carry = step.carry
        self._keep(~leaving)
        return result

    def _fill(self) -> None:
        room = min(self._plan.batch_size - len(self._places), len(self._wanted) - self._next)
        if room <= 0:
            return
        new = np.arange(self._next, self._next + room)
        self._next += room
        batch = self._rows.get(torch.from_numpy(self._wanted[new]).to(self._device))
        if self._plan.blank_identifier is not None:
            batch["puzzle_identifiers"] = torch.full_like(batch["puzzle_identifiers"], self._plan.blank_identifier)
        carry = self._model.initial_carry(batch)
        self._batch = _join(self._batch, batch)
        self._carry = None if carry is None else _join(self._carry, carry)
        self._places = np.concatenate((self._places, new))
        self._ages = np.concatenate((self._ages, np.zeros(room, np.int64)))

    def _keep(self, staying: npt.NDArray[np.bool_]) -> None:
        self._places, self._ages = self._places[staying], self._ages[staying]
        if staying.all():
            return
        if not staying.any():
            self._batch = self._carry = None
            return
        index = torch.from_numpy(np.flatnonzero(staying)).to(self._device)
        self._batch = {name: value[index] for name, value in (self._batch or {}).items()}
        self._carry = {name: value[index] for name, value in self._carry.items()} if self._carry else None


class _Record:
    """What happened to every row of this process."""

    def __init__(self, rows: Indices, steps: int, show: set[int]) -> None:
        shape = (len(rows), steps)
        self._rows, self._show = rows, show
        self._exact = np.zeros(shape, np.bool_)
        self._accuracy, self._q_halt = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._steps = np.zeros(len(rows), np.int32)
        self._shown: dict[int, npt.NDArray[np.int32]] = {}

    def add(
        self,
        places: Indices,
        ages: Indices,
        numbers: npt.NDArray[np.float32],
        preds: Tensor,
        leaving: npt.NDArray[np.bool_],
    ) -> None:
        """Record one step; a row that leaves keeps its numbers for the steps it did not need."""
        self._steps[places] = ages
        for place, age, exact, accuracy, q_halt, left in zip(places, ages, *numbers, leaving, strict=True):
            until = None if left else age
            self._exact[place, age - 1 : until] = exact
            self._accuracy[place, age - 1 : until] = accuracy
            self._q_halt[place, age - 1 : until] = q_halt
        for index in np.flatnonzero(leaving):
            row = int(self._rows[places[index]])
            if row in self._show:
                self._shown[row] = preds[index].cpu().numpy().astype(np.int32)

    def solved(self) -> Solved:
        """Return the record."""
        return Solved(self._exact, self._accuracy, self._q_halt, self._steps, self._shown)


@contextmanager
def _working(model: TrainableModel, steps: int) -> Iterator[None]:
    """Put the model into evaluation mode with `steps` supervision steps for the time of a `with` block."""
    trained, most = model.training, model.max_steps
    model.eval()
    model.max_steps = steps
    try:
        yield
    finally:
        model.max_steps = most
        model.train(trained)


def _numbers(step: Step, labels: Tensor) -> npt.NDArray[np.float32]:
    """Return exact, accuracy and q_halt of every row, [3, B]; the one place that waits for the device."""
    labelled = labels != IGNORED_LABEL
    right = ((step.outputs["preds"] == labels) & labelled).sum(-1)
    total = labelled.sum(-1)
    q_halt = step.outputs.get("q_halt", torch.full_like(right, -math.inf, dtype=torch.float32))
    stacked = torch.stack(((right == total).float(), right / total.clamp(min=1), q_halt.float()))
    return stacked.cpu().numpy()


def _join(old: dict[str, Tensor] | None, new: dict[str, Tensor]) -> dict[str, Tensor]:
    return new if old is None else {name: torch.cat((value, new[name])) for name, value in old.items()}


def _interleave(parts: list[Solved], total: int) -> Solved:
    """Put the rows of the processes back into their order: process r had every `size`-th row from r on."""
    if len(parts) == 1:
        return parts[0]
    joined = {}
    for name in ("exact", "accuracy", "q_halt", "steps"):
        arrays = [getattr(part, name) for part in parts]
        whole = np.empty((total, *arrays[0].shape[1:]), arrays[0].dtype)
        for rank, array in enumerate(arrays):
            whole[rank :: len(parts)] = array
        joined[name] = whole
    return Solved(**joined, predictions={row: cells for part in parts for row, cells in part.predictions.items()})
