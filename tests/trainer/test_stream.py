"""Rows are drawn only as slots become free, every row of an epoch once, alike for any number of processes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer import data
from trainer.data.sampler import epoch_rows
from trainer.data.store import Split, read_split
from trainer.data.stream import Rows, Stream
from trainer.dist import World
from trmkit.spec.run import RunFile

SLOTS = 8


class Part(World):
    """One of two processes that are told what the other one's slots do."""

    halted: torch.Tensor

    def gather_rows(self, part: torch.Tensor) -> torch.Tensor:
        return self.halted


@pytest.fixture
def split(small_run: RunFile) -> Split:
    return read_split(data.build(small_run.data, Path(small_run.storage.data)), "train")


def halting(calls: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.ones(SLOTS, dtype=torch.bool)] + [
        torch.rand(SLOTS, generator=generator) < 0.4 for _ in range(calls - 1)
    ]


def drawn(stream: Stream, pattern: list[torch.Tensor]) -> list[np.ndarray]:
    """Return what every call gave to the slots that were free."""
    taken = []
    for halted in pattern:
        batch = stream.next(halted)
        taken.append(batch["inputs"][halted].numpy())
    return taken


def test_every_row_of_an_epoch_is_handed_out_once_and_in_order(split: Split, alone: World) -> None:
    found = np.concatenate(drawn(Stream(split, 5, SLOTS, alone, on_device=True), halting(400)))
    expected = np.concatenate([epoch_rows(split, 5, epoch) for epoch in range(60)])[: len(found)]
    assert len(found) > 10 * len(epoch_rows(split, 5, 0))
    assert np.array_equal(found, split.inputs[expected].astype(np.int32))


def test_the_stream_goes_on_from_a_saved_place(split: Split, alone: World) -> None:
    pattern = halting(300)
    whole = drawn(Stream(split, 5, SLOTS, alone, on_device=True), pattern)
    stream = Stream(split, 5, SLOTS, alone, on_device=False)
    for at in range(0, 300, 37):
        again = Stream(split, 5, SLOTS, alone, on_device=False)
        again.restore(stream.state())
        stream = again
        for found, expected in zip(drawn(stream, pattern[at : at + 37]), whole[at : at + 37], strict=True):
            assert np.array_equal(found, expected)


def test_the_order_does_not_depend_on_the_number_of_processes(split: Split, alone: World) -> None:
    cpu = torch.device("cpu")
    one = Stream(split, 5, SLOTS, alone, on_device=True)
    worlds = [Part(rank, 2, rank, cpu) for rank in range(2)]
    two = [Stream(split, 5, SLOTS, world, on_device=True) for world in worlds]
    for halted in halting(100):
        for world in worlds:
            object.__setattr__(world, "halted", halted)
        expected = one.next(halted)
        parts = [stream.next(halted[world.rows(SLOTS)]) for stream, world in zip(two, worlds, strict=True)]
        for name, value in expected.items():
            assert torch.equal(torch.cat([part[name] for part in parts])[halted], value[halted])


def test_labels_that_are_ignored_become_minus_100(split: Split, alone: World) -> None:
    rows = Rows(split, torch.device("cpu"), on_device=False).get(torch.arange(4))
    assert rows["labels"].dtype == torch.int32
    stored = np.asarray(split.labels[:4])
    assert np.array_equal(rows["labels"].numpy() == -100, stored == split.metadata.ignore_label_id)
