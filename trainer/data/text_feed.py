"""Training rows for language models, made while they are needed, by this process or by others in the background.

Row n is a function of the data set, the seed and n, and of how many rows of each corpus came before it, which is the
state. So rows are the same for any number of processes, with or without others in the background, and after a resume.

Legend: `G` slots over all processes, `B` slots of this process, `L` places of a row.
"""

from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.feed import Lane
from trainer.data.language import IGNORED
from trainer.data.mixture import parts, upper_difficulty
from trainer.data.packing import Rows
from trainer.data.text_rows import Place, RowMaker
from trainer.data.text_worker import AHEAD, Order, Worker
from trainer.dist import World
from trainer.models.base import Batch
from trmkit.spec.curriculum import CurriculumData

ENOUGH = 262_144
"""Tokens that are made at once, if there are more slots' rows to come: small updates are made several at a time."""


class TextFeed:
    """An endless source of rows; see `trainer.data.feed`."""

    def __init__(
        self, folder: Path, section: CurriculumData, seed: int, slots: int, world: World, workers: int = 0
    ) -> None:
        """Serve `slots` slots over all processes, with `workers` in the background of each.

        DataError: the data set cannot be used.
        """
        self._folder, self._section, self._seed, self._slots, self._world = folder, section, seed, slots, world
        self._count = workers
        self._maker = RowMaker(folder, section, seed)
        self.lanes = [Lane(self, slots)]
        mine = world.rows(slots)
        self._share = mine.stop - mine.start
        updates = max(1, ENOUGH // (self._share * section.seq_len))
        self._next_order = Order(Place(0, (0,) * len(section.language)), updates, slots, mine.start, mine.stop)
        self._place = self._next_order.place
        self._ready: deque[Rows] = deque()
        self._workers: list[Worker] = []
        self._pending: deque[Worker] = deque()

    def next(self, free: Tensor | None) -> Batch:
        """Return new rows for all slots of this process: every row of text is final. Every process must call it."""
        if not self._ready:
            made = self._made()
            parts = (slice(start, start + self._share) for start in range(0, len(made.inputs), self._share))
            self._ready.extend(Rows(*(array[part] for array in vars(made).values())) for part in parts)
        rows = self._ready.popleft()
        self._place = self._maker.after(self._place, self._place.row + self._slots)
        return self._batch(rows)

    def state(self) -> dict[str, int]:
        """Return the next row's number, and how many rows of each corpus were taken."""
        taken = {f"language_{number}": count for number, count in enumerate(self._place.taken)}
        return {"row": self._place.row, **taken}

    def restore(self, state: dict[str, int]) -> None:
        """Go on from a place that `state` returned. ValueError: there is no such place."""
        names = list(self.state())
        if set(state) != set(names) or not all(type(value) is int and 0 <= value < 1 << 48 for value in state.values()):
            raise ValueError(f"the place in the data is {state}")
        row, *taken = (state[name] for name in names)
        if sum(taken) > row:
            raise ValueError(f"the place in the data is {state}: more rows of language than rows")
        self._begin(Place(row, tuple(taken)))

    def numbers(self) -> dict[str, float]:
        """Return the tokens seen, the upper end of difficulty, and the chances of the kinds of rows at this moment."""
        tokens = self._place.row * self._section.seq_len
        now = np.array([tokens], np.float64)
        chances = {f"part_{name}": float(part[0]) for name, part in parts(self._section, now)._asdict().items()}
        return {"tokens": tokens, "difficulty": float(upper_difficulty(self._section, now)[0]), **chances}

    def close(self) -> None:
        """End the processes in the background."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        self._pending.clear()

    def _begin(self, place: Place) -> None:
        """Forget what was made, and go on at `place`."""
        self.close()
        self._ready.clear()
        self._place, self._next_order = place, self._next_order._replace(place=place)

    def _made(self) -> Rows:
        """Return the rows of the next few updates; have the workers go on with those after them."""
        if not self._count:
            order = self._take_order()
            return self._maker.make(order.place, order.rows())
        if not self._workers:
            self._workers = [Worker(self._folder, self._section, self._seed) for _ in range(self._count)]
            for worker in self._workers * AHEAD:
                self._ask(worker)
        worker = self._pending.popleft()
        made = worker.take()
        self._ask(worker)
        return made

    def _ask(self, worker: Worker) -> None:
        worker.order(self._take_order())
        self._pending.append(worker)

    def _take_order(self) -> Order:
        order = self._next_order
        after = self._maker.after(order.place, order.place.row + order.updates * order.slots)
        self._next_order = order._replace(place=after)
        return order

    def _batch(self, rows: Rows) -> Batch:
        """Return rows as tensors on the device, with the weight of their labels.

        Every row counts alike, so that the loss has each kind of row in the share that the mixture says: of a row of
        language every token is a label, of one with a needle six are.
        """
        labels = (rows.labels != IGNORED).sum(axis=1)
        weight = np.where(labels, 1 / np.maximum(labels, 1), 0).astype(np.float32)
        arrays = {**vars(rows), "label_weight": weight}
        return {name: self._moved(torch.from_numpy(array)) for name, array in arrays.items()}

    def _moved(self, tensor: Tensor) -> Tensor:
        """Bring a tensor to the device; from pinned memory the copy to a GPU does not wait for the work before it."""
        if self._world.device.type == "cuda":
            return tensor.pin_memory().to(self._world.device, non_blocking=True)
        return tensor.to(self._world.device)
