"""Let a model work on rows until each is final, with the places of finished rows given to the next ones.

With several rollouts a row is worked on so many times, all but the first with noise on the states, and one answer is
taken. Legend: `n` rows, `M` supervision steps, `K` rollouts, `B` pieces of work at once (a row's rollout), `L` cells.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.agency import HEART
from trainer.data.cutting import cut, on_canvas
from trainer.data.stream import Rows
from trainer.dist import World
from trainer.evaluators import Taker
from trainer.evaluators.exact import Losses, Rollouts, Solved
from trainer.evaluators.select import Selection, select
from trainer.models import TrainableModel
from trainer.models.base import IGNORED_LABEL, Batch, Carry, Step
from trainer.noise import with_noise

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
    settled: bool = False
    """It leaves only if its answer is that of the step before, too."""
    blank_identifier: int | None = None
    """Replaces every puzzle identifier when given."""
    rollouts: int = 1
    """Times K that a row is worked on; the first is always without noise."""
    noise: float = 0.0
    """Standard deviation of what is added to the states before each step of the other rollouts."""
    select: Selection = "q_halt"
    """How one answer is taken of those of all rollouts."""
    seed: int = 0
    """Of the noise."""


def solve(
    model: TrainableModel,
    rows: Rows,
    wanted: Indices,
    plan: Plan,
    world: World,
    *,
    show: Indices,
    check: Callable[[], None],
    evaluator: Taker | None = None,
) -> Solved:
    """Work on the rows `wanted` [n] of a split and return how each went, in the same order, on every process.

    The cells predicted for the rows `show` are returned too. `check` is called between steps, on every process alike,
    and may raise. `evaluator` is given the answers to every row of this process when the row is finished. A row's
    numbers do not depend on which rows it shares a batch with.
    """
    mine = wanted[world.rank :: world.size]
    record = _Record(mine, plan, set(show.tolist()), evaluator)
    works = [_Work(model, rows, mine, plan, world.device, *some) for some in _by_window(rows, mine)]
    with torch.no_grad(), _working(model, plan.steps):
        while world.largest(int(any(work.left() for work in works))):
            check()
            work = next((work for work in works if work.left()), None)
            if work is not None:
                record.add(work.step())
            HEART.beat()
    HEART.rest()  # what is made of the answers takes as long as it takes
    parts = world.gather_objects(replace(record.solved(), losses=_added([work.losses() for work in works])))
    return _interleave(parts, len(wanted))


def _by_window(rows: Rows, wanted: Indices) -> list[tuple[Indices, int | None]]:
    """Return places in `wanted` [n] whose rows have one shape, and the side of their window; None: all is seen."""
    windows = rows.windows(wanted)
    if windows is None:
        return [(np.arange(len(wanted)), None)]
    return [(np.flatnonzero(windows == side), int(side)) for side in np.unique(windows)]


def _added(losses: list[Losses]) -> Losses:
    """Add up sums of losses and the steps that they are of."""
    names = {name for sums, _ in losses for name in sums}
    return {name: sum(sums.get(name, 0.0) for sums, _ in losses) for name in names}, sum(steps for _, steps in losses)


@dataclass(frozen=True)
class _Worked:
    """One step of the pieces of work at hand."""

    pieces: Indices
    """[B]: piece k is rollout k % K of row k // K of this process."""
    ages: Indices
    """Steps worked, this one included, [B]."""
    numbers: npt.NDArray[np.float32]
    """Exact, accuracy and q_halt, [3, B]."""
    preds: Tensor
    """[B, L]"""
    leaving: npt.NDArray[np.bool_]
    """[B]"""


class _Work:
    """The pieces being worked on. When some leave, the rest close ranks and new ones join behind them."""

    def __init__(
        self, model: TrainableModel, rows: Rows, wanted: Indices, plan: Plan, device: torch.device,
        places: Indices, side: int | None,
    ) -> None:  # fmt: skip
        """Begin with the rows at `places` of `wanted`; with a `side`, in windows of their canvases."""
        self._model, self._rows, self._plan, self._device, self._side = model, rows, plan, device, side
        self._wanted = np.repeat(wanted, plan.rollouts)
        self._queue = (places[:, None] * plan.rollouts + np.arange(plan.rollouts)).ravel()
        self._next = 0
        self._pieces = np.empty(0, np.int64)
        self._ages = np.empty(0, np.int64)
        self._batch: Batch | None = None
        self._carry: Carry | None = None
        self._before: Tensor | None = None
        self._losses: dict[str, Tensor] = {}
        self._worked = 0

    def losses(self) -> Losses:
        """Return the sums of the losses, over steps of all rows, and how many these are."""
        return {name: float(value) for name, value in self._losses.items()}, self._worked

    def left(self) -> bool:
        """Whether there is anything still to do."""
        return self._next < len(self._queue) or len(self._pieces) > 0

    def step(self) -> _Worked:
        """Work one step."""
        self._fill()
        assert self._batch is not None
        step = self._model(self._noisy(), self._batch)
        self._add_losses(step)
        self._ages = self._ages + 1
        preds, asked = step.outputs["preds"], self._batch["labels"]
        if self._side is not None:
            asked = self._batch["asked"]
            preds = on_canvas(preds, self._batch["positions"], asked)
        numbers = _numbers(step, preds, asked)
        leaving = self._ages >= self._plan.steps
        if self._plan.early_exit is not None:
            leaving |= (numbers[2] > self._plan.early_exit) & self._is_settled(preds)
        if step.carry is None:
            leaving[:] = True
        worked = _Worked(self._pieces, self._ages, numbers, preds, leaving)
        self._carry = step.carry
        self._keep(~leaving)
        return worked

    def _is_settled(self, preds: Tensor) -> npt.NDArray[np.bool_]:
        """Say of which rows the answer is what it was a step before, [B]; of all where nobody asks."""
        if not self._plan.settled:
            return np.ones(len(preds), np.bool_)
        before = preds.new_full(preds.shape, -1)
        if self._before is not None:
            before[: len(self._before)] = self._before
        self._before = preds
        return (preds == before).all(-1).cpu().numpy()

    def _add_losses(self, step: Step) -> None:
        parts = {name: value for name, value in step.metrics.items() if name.endswith("_loss")}
        for name, value in {"loss": step.loss * self._model.calls_per_update, **parts}.items():
            self._losses[name] = self._losses[name] + value if name in self._losses else value
        self._worked += len(self._pieces)

    def _noisy(self) -> Carry | None:
        plan = self._plan
        if not plan.noise or self._carry is None:
            return self._carry
        draws = [
            (plan.seed, row, rollout, age) if rollout else None
            for row, rollout, age in zip(
                self._wanted[self._pieces].tolist(), (self._pieces % plan.rollouts).tolist(), self._ages.tolist(),
                strict=True,
            )
        ]  # fmt: skip
        return with_noise(self._carry, self._model.latent_names, plan.noise, draws)

    def _fill(self) -> None:
        room = min(self._plan.batch_size - len(self._pieces), len(self._queue) - self._next)
        if room <= 0:
            return
        new = self._queue[self._next : self._next + room]
        self._next += room
        batch = self._rows.get(torch.from_numpy(self._wanted[new]).to(self._device))
        if self._plan.blank_identifier is not None:
            batch["puzzle_identifiers"] = torch.full_like(batch["puzzle_identifiers"], self._plan.blank_identifier)
        if self._side is not None:  # the answer is compared on the canvas: what does not fit the window is wrong
            batch = cut(batch, self._side) | {"asked": batch["labels"]}
        carry = self._model.begin(batch)
        self._batch = _join(self._batch, batch)
        self._carry = None if carry is None else _join(self._carry, carry)
        self._pieces = np.concatenate((self._pieces, new))
        self._ages = np.concatenate((self._ages, np.zeros(room, np.int64)))

    def _keep(self, staying: npt.NDArray[np.bool_]) -> None:
        self._pieces, self._ages = self._pieces[staying], self._ages[staying]
        if staying.all():
            return
        if not staying.any():
            self._batch = self._carry = self._before = None
            return
        index = torch.from_numpy(np.flatnonzero(staying)).to(self._device)
        self._batch = {name: value[index] for name, value in (self._batch or {}).items()}
        self._carry = {name: value[index] for name, value in self._carry.items()} if self._carry else None
        self._before = self._before[index] if self._before is not None else None


class _Record:
    """What happened to every row of this process."""

    def __init__(self, rows: Indices, plan: Plan, show: set[int], evaluator: Taker | None) -> None:
        by_step, by_rollout = (len(rows), plan.steps), (len(rows), plan.rollouts)
        self._rows, self._plan, self._show, self._evaluator = rows, plan, show, evaluator
        self._exact = np.zeros(by_step, np.bool_)
        self._accuracy, self._q_halt = np.zeros(by_step, np.float32), np.zeros(by_step, np.float32)
        self._last = Rollouts(
            exact=np.zeros(by_rollout, np.bool_),
            accuracy=np.zeros(by_rollout, np.float32),
            q_halt=np.zeros(by_rollout, np.float32),
            steps=np.zeros(by_rollout, np.int32),
            answers=np.zeros(by_rollout, np.int64),
            chosen=np.zeros(len(rows), np.int64),
            by=plan.select,
        )
        self._waiting: dict[int, dict[int, npt.NDArray[Any]]] = {}
        self._shown: dict[int, npt.NDArray[np.int32]] = {}

    def add(self, worked: _Worked) -> None:
        """Record one step; a row that leaves keeps its numbers for the steps it did not need."""
        places, rollouts = worked.pieces // self._plan.rollouts, worked.pieces % self._plan.rollouts
        first = rollouts == 0
        since = np.arange(self._plan.steps) >= worked.ages[first, None] - 1
        for kept, numbers in zip((self._exact, self._accuracy, self._q_halt), worked.numbers[:, first], strict=True):
            kept[places[first]] = np.where(since, numbers[:, None], kept[places[first]])
        left = np.flatnonzero(worked.leaving)
        if len(left):
            ended = places[left], rollouts[left]
            self._last.exact[ended], self._last.accuracy[ended], self._last.q_halt[ended] = worked.numbers[:, left]
            self._last.steps[ended] = worked.ages[left]
            self._take_answers(*ended, worked.preds, left)

    def _take_answers(self, places: Indices, rollouts: Indices, preds: Tensor, left: Indices) -> None:
        """Copy the answers that somebody wants to see off the device, and pass rows on once all of theirs are here."""
        if self._evaluator is None and self._plan.rollouts == 1:
            wanted = np.isin(self._rows[places], list(self._show))
            places, rollouts, left = places[wanted], rollouts[wanted], left[wanted]
            if not len(left):
                return
        cells = preds[torch.from_numpy(left).to(preds.device)].to(torch.int32).cpu().numpy()
        if self._plan.rollouts > 1:
            self._last.answers[places, rollouts] = [_name_of(answer) for answer in cells]
        for place, rollout, answer in zip(places.tolist(), rollouts.tolist(), cells, strict=True):
            self._waiting.setdefault(place, {})[rollout] = answer
        whole = [place for place in np.unique(places).tolist() if len(self._waiting[place]) == self._plan.rollouts]
        if whole:
            self._finish(np.array(whole))

    def _finish(self, places: Indices) -> None:
        plan, last = self._plan, self._last
        answers = np.stack([[self._waiting[place][k] for k in range(plan.rollouts)] for place in places.tolist()])
        for place in places.tolist():
            del self._waiting[place]
        chosen = select(last.q_halt[places], last.answers[places], plan.rollouts, plan.select)
        last.chosen[places] = chosen
        for index, row in enumerate(self._rows[places].tolist()):
            if row in self._show:
                self._shown[row] = answers[index, chosen[index]]
        if self._evaluator is not None:
            self._evaluator.add(self._rows[places], answers, last.q_halt[places], chosen)

    def solved(self) -> Solved:
        """Return the record."""
        rollouts = self._last if self._plan.rollouts > 1 else None
        return Solved(self._exact, self._accuracy, self._q_halt, self._last.steps[:, 0], self._shown, rollouts)


def _name_of(answer: npt.NDArray[np.int32]) -> int:
    """Return 64 bits that name an answer [L]."""
    return int.from_bytes(hashlib.blake2b(answer.tobytes(), digest_size=8).digest(), "little", signed=True)


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


def _numbers(step: Step, preds: Tensor, labels: Tensor) -> npt.NDArray[np.float32]:
    """Return exact, accuracy and q_halt of every row, [3, B]; the one place that waits for the device."""
    labelled = labels != IGNORED_LABEL
    right = ((preds == labels) & labelled).sum(-1)
    total = labelled.sum(-1)
    q_halt = step.outputs.get("q_halt", torch.full_like(right, -math.inf, dtype=torch.float32))
    stacked = torch.stack(((right == total).float(), right / total.clamp(min=1), q_halt.float()))
    return stacked.cpu().numpy()


def _interleave(parts: list[Solved], total: int) -> Solved:
    """Put the rows of the processes back into their order: process r had every `size`-th row from r on."""
    if len(parts) == 1:
        return parts[0]
    names = {name for part in parts for name in part.losses[0]}
    losses = {name: sum(part.losses[0].get(name, 0.0) for part in parts) for name in sorted(names)}

    def whole(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        joined = np.empty((total, *arrays[0].shape[1:]), arrays[0].dtype)
        for rank, array in enumerate(arrays):
            joined[rank :: len(parts)] = array
        return joined

    arrays = ("exact", "accuracy", "q_halt", "steps")
    exact, accuracy, q_halt, steps = (whole([getattr(part, name) for part in parts]) for name in arrays)
    predictions = {row: cells for part in parts for row, cells in part.predictions.items()}
    found = Solved(exact, accuracy, q_halt, steps, predictions, losses=(losses, sum(part.losses[1] for part in parts)))
    rollouts = [part.rollouts for part in parts if part.rollouts is not None]
    if rollouts:
        each = {name: whole([getattr(one, name) for one in rollouts]) for name in (*arrays, "answers", "chosen")}
        found = replace(found, rollouts=Rollouts(**each, by=rollouts[0].by))
    return found


def _join(old: dict[str, Tensor] | None, new: dict[str, Tensor]) -> dict[str, Tensor]:
    return new if old is None else {name: torch.cat((value, new[name])) for name, value in old.items()}
