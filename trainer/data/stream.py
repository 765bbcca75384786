"""The order in which training rows are worked on, drawn only as slots become free.

One stream serves all processes: the free slots, in the order of their global numbers, take the next rows of the
current epoch. So the order does not depend on the number of processes, no row is drawn and thrown away, and the whole
state is one place in the stream. The place is counted on the device: taking rows never waits for it.

Legend: `G` slots over all processes (the global batch), `B` slots of this process, `L` cells.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.cutting import cut
from trainer.data.feed import Lane
from trainer.data.resident import resident
from trainer.data.sampler import epoch_rows
from trainer.data.store import Int32, Split, Tokens
from trainer.dist import World
from trainer.models.base import IGNORED_LABEL, Batch

_LOOK_AHEAD = 64
"""Batches that can be drawn before the place in the stream is read back from the device."""


class Stream:
    """An endless, seeded stream of training rows."""

    def __init__(
        self, split: Split, seed: int, slots: int, world: World,
        *, on_device: bool = False, rows: "Rows | None" = None, side: int | None = None,
    ) -> None:  # fmt: skip
        """Serve `slots` slots over all processes; `on_device` keeps the arrays in device memory.

        With a `side` only with rows that are worked on in such a window. `rows` are those of the split, if open.
        """
        self._split, self._seed, self._slots, self._world, self._side = split, seed, slots, world, side
        self._rows = Rows(split, world.device, on_device=on_device) if rows is None else rows
        self.lanes = [Lane(self, slots, side)]
        self._epoch = 0
        self._lengths: list[int] = []
        self._order = torch.zeros(1, dtype=torch.int64, device=world.device)  # row 0, for slots before the first row
        self._position = torch.tensor(0, device=world.device)
        self._drawn = self._known = 0
        self._extend()

    def next(self, halted: Tensor | None) -> Batch:
        """Return a batch for this process's slots; only rows of slots where `halted` [B] is true are new ones.

        None means that every slot is free. Rows of other slots hold arbitrary data.
        """
        mine = self._world.rows(self._slots)
        if halted is None:
            halted = torch.ones(mine.stop - mine.start, dtype=torch.bool, device=self._world.device)
        taken = self._take(self._world.gather_rows(halted))
        batch = self._rows.get(taken[mine])
        return batch if self._side is None else cut(batch, self._side)

    def numbers(self) -> dict[str, float]:
        """Return nothing: a place in the stream says nothing to people."""
        return {}

    def close(self) -> None:
        """Do nothing: nothing works in the background."""

    def state(self) -> dict[str, int]:
        """Return the place in the stream: the epoch, and how many of its rows have been handed out."""
        position, epoch = int(self._position), self._epoch
        for length in self._lengths:
            if position < length:
                break
            position, epoch = position - length, epoch + 1
        return {"epoch": epoch, "offset": position}

    def restore(self, state: dict[str, int]) -> None:
        """Go on from a place that `state` returned. ValueError: there is no such place."""
        epoch, offset = state["epoch"], state["offset"]
        if type(epoch) is not int or type(offset) is not int or not (0 <= epoch < 1 << 40 and offset >= 0):
            raise ValueError(f"the place in the data is {state}")
        if offset > len(self._epoch_rows(epoch)):
            raise ValueError(f"the place in the data is {state}, beyond its epoch")
        self._epoch, self._lengths, self._order = state["epoch"], [], self._order[:1]
        self._position = torch.tensor(state["offset"], device=self._world.device)
        self._extend()

    def _take(self, halted: Tensor) -> Tensor:
        if self._drawn + self._slots > self._known:
            self._extend()
        after = halted.cumsum(0).add_(self._position)
        self._position = after[-1]
        self._drawn += self._slots
        return self._order.index_select(0, after)

    def _epoch_rows(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the rows of an epoch that are for this stream, in their order."""
        rows, windows = epoch_rows(self._split, self._seed, epoch), self._split.row_windows
        return rows if self._side is None or windows is None else rows[windows[rows] == self._side]

    def _extend(self) -> None:
        """Forget finished epochs and draw new ones until the look-ahead is full."""
        position, order = int(self._position), self._order[1:].cpu().numpy()
        while self._lengths and position >= self._lengths[0]:
            order, position = order[self._lengths[0] :], position - self._lengths[0]
            del self._lengths[0]
            self._epoch += 1
        parts, held = [order], len(order)
        while held < position + _LOOK_AHEAD * self._slots:
            parts.append(self._epoch_rows(self._epoch + len(self._lengths)))
            self._lengths.append(len(parts[-1]))
            held += len(parts[-1])
        self._order = torch.from_numpy(np.concatenate([[0], *parts])).to(self._world.device)
        self._position = torch.tensor(position, device=self._world.device)
        self._drawn, self._known = 0, held - position


class Rows:
    """Rows of a split as tensors on a device."""

    def __init__(self, split: Split, device: torch.device, *, on_device: bool) -> None:
        self._split, self._device = split, device
        self._identifiers = torch.from_numpy(split.row_identifiers).to(device)
        compiled = split.shuffled is not None and device.type == "cpu"  # the boards are in its memory in any case
        self._resident = resident(split, device) if on_device and not compiled else None

    def windows(self, rows: npt.NDArray[np.int64]) -> Int32 | None:
        """Return the side of the window of each of `rows` [n]; None: all are worked on whole."""
        return None if self._split.row_windows is None else self._split.row_windows[rows]

    def get(self, rows: Tensor) -> Batch:
        """Return the batch of `rows` (int64 [B], on the device)."""
        beside, ignored = self._split.beside, self._split.metadata.ignore_label_id
        wanted = rows.cpu().numpy() if self._resident is None or beside else np.empty(0, np.int64)
        if self._resident is not None:
            inputs, labels = (tokens.int() for tokens in self._resident(rows))
            if ignored is not None:
                labels = torch.where(labels == ignored, IGNORED_LABEL, labels)
        else:
            inputs, labels = (torch.from_numpy(t).to(self._device).int() for t in _on_host(self._split, wanted))
        batch = {"inputs": inputs, "labels": labels, "puzzle_identifiers": self._identifiers.index_select(0, rows)}
        return batch | {name: torch.from_numpy(one.get(wanted)).to(self._device) for name, one in beside.items()}


def _on_host(split: Split, rows: npt.NDArray[np.int64]) -> tuple[Tokens, Int32]:
    """Return inputs and labels of `rows`, with `IGNORED_LABEL` where nothing is asked."""
    if split.shuffled is not None:  # a board is asked for whole
        return split.shuffled.pairs(rows, np.int32)
    inputs, answers = (np.asarray(table[rows]) for table in (split.inputs, split.labels))
    labels, ignored = answers.astype(np.int32), split.metadata.ignore_label_id
    if ignored is not None and (out := answers == ignored).any():  # numpy compares bytes much faster than torch
        labels -= out * np.int32(ignored - IGNORED_LABEL)
    return inputs if inputs.dtype == np.uint8 else inputs.astype(np.int32), labels


def fits_on_device(split: Split, device: torch.device, choice: str) -> bool:
    """Decide where the arrays live; `choice` is `train.data_on_device`."""
    if choice != "auto":
        return choice == "always"
    if device.type != "cuda":
        return False
    return bool(split.inputs.nbytes + split.labels.nbytes < torch.cuda.mem_get_info(device)[0] / 4)
