"""The stage `features`: read the prompt of every row of a run's data set once, and keep what the reader made of it.

Processes share the work by keys: each works out those of its rows, then reads its share of what is missing. A stage
that was interrupted goes on, on another disk too: what is kept is found by its key, and every shard is published as
soon as it is written. Legend: N rows of both splits.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.distributed as dist

from trainer import data
from trainer.agency import HEART
from trainer.data.manifest import grid_of
from trainer.data.store import Split, read_split
from trainer.dist import World
from trainer.features.cache import SHARD_BYTES, SPLITS, Place, Shards, write_shard
from trainer.features.keys import Keys, as_array, as_words, key_of, text_of
from trainer.features.prompts import Prompts
from trainer.features.readers import Reader, Vectors, identity_here, open_reader
from trainer.features.stored import SharedFeatures, open_shared
from trainer.progress import say
from trmkit.errors import DataError
from trmkit.spec.features import FeaturesSection
from trmkit.spec.run import RunFile
from trmkit.store.local import write_whole

SHARD_SECONDS = 60.0
"""Seconds after which what was read is written, so that an end does not cost more."""
SAID_EVERY = 10.0
"""Seconds between two lines that tell how far it is."""


@dataclass(frozen=True)
class Counts:
    """How much there was to do."""

    prompts: int
    """Rows of the data set."""
    distinct: int
    """Different prompts among them."""
    found: int
    """Of these, kept already."""

    @property
    def read(self) -> int:
        """Different prompts that were read now."""
        return self.distinct - self.found

    def __str__(self) -> str:
        return f"{self.prompts:,} prompts, {self.distinct:,} distinct: {self.found:,} found, {self.read:,} read"


def read_features(run: RunFile, world: World) -> Path | None:
    """Have the vectors of all rows of `run` on every machine; return their folder. Every process calls it.

    None: the run reads no text, or does while it trains. DataError: the reader cannot be had, or a file is damaged.
    """
    section = run.features
    if section is None or section.online:
        if world.first:
            why = "the run reads no text" if section is None else "features.online: texts are read as rows are taken"
            say(f"features: nothing to do, {why}")
        return None
    folder = data.build_together(run, world)
    place = place_for(run, folder)
    take(run, place, world)
    reader = reader_to_take(place, section, world)
    counts = counted(place, section, reader, world)
    if world.largest(int(counts is None or counts.read > 0)):
        reader, counts = _read(run, section, folder, place, world)
    with world.together():
        assert reader is not None
        if world.local_rank == 0:
            place.name_reader(reader)
        shared = open_shared(run.storage, say)
        if world.first and shared is not None:
            shared.give(place, reader)
    if world.first:
        say(f"features: {counts}")
    return place.folder


def place_for(run: RunFile, folder: Path) -> Place:
    """Return the place of the vectors of `run`, whose data set is in `folder`."""
    assert run.features is not None
    return Place.of(run.features, Path(run.storage.data), folder)


def take(run: RunFile, place: Place, world: World) -> None:
    """Bring what the run's store has to every machine; every process calls it."""
    for turn in (world.first, world.local_rank == 0 and not world.first):
        with world.together():
            shared = open_shared(run.storage, say) if turn else None
            if shared is not None:
                shared.take(place)


def reader_to_take(place: Place, section: FeaturesSection, world: World) -> str | None:
    """Return the identity of the reader at hand, else of the one that was read with last; None: there is neither.

    Every process calls it and has the first one's answer: the rows of a batch are not of several readers.
    """
    with world.together():
        found = identity_here(section) or place.reader()
    answer: str | None = world.gather_objects(found)[0]
    return answer


def counted(place: Place, section: FeaturesSection, reader: str | None, world: World) -> Counts | None:
    """Return how much of what the data set needs is kept here; None: nobody knows what it needs of this reader.

    Every process calls it. DataError, on all: a file is damaged.
    """
    with world.together():
        keys = None if reader is None else place.keys(reader)
        return None if keys is None else _count(keys, Shards(place, section, verify=world.local_rank == 0))


def _read(run: RunFile, section: FeaturesSection, folder: Path, place: Place, world: World) -> tuple[str, Counts]:
    """Read what is missing, and write keys of all rows; return the reader's identity, and how much there was to do."""
    HEART.rest()
    _exchange(place, world)
    with world.together():
        refuse_what_has_no_text(folder)
        reader = open_reader(section, world.device)
    refuse_other_readers(reader.identity, world)
    splits = {split: read_split(folder, split) for split in SPLITS}
    prompts = Prompts(splits)
    keys = _keys(prompts, splits, section, reader, world)
    with world.together():
        shards = Shards(place, section, verify=world.local_rank == 0)
    whole = np.concatenate([keys[split] for split in SPLITS])
    _, firsts = np.unique(as_words(whole), return_index=True)
    missing = firsts[shards.find(whole[firsts]) < 0]
    counts = Counts(len(whole), len(firsts), len(firsts) - len(missing))
    mine = _texts(prompts, splits, missing[world.rank :: world.size], section, reader)
    with world.together():
        _keep(mine, whole, section, reader, place, open_shared(run.storage, say), world)
    _exchange(place, world)
    with world.together():
        if world.local_rank == 0:
            left = _count(keys, Shards(place, section)).read
            if left:
                raise DataError(f"{place.folder}: {left:,} prompts are missing still", next="run the stage once more")
            place.write_keys(keys, reader.identity)
    return reader.identity, counts


def _count(keys: dict[str, Keys], shards: Shards) -> Counts:
    whole = np.concatenate([keys[split] for split in SPLITS])
    _, firsts = np.unique(as_words(whole), return_index=True)
    return Counts(len(whole), len(firsts), int((shards.find(whole[firsts]) >= 0).sum()))


def refuse_what_has_no_text(folder: Path) -> None:
    """DataError: the rows of a data set are no ARC tasks."""
    kind = grid_of(folder).kind
    if kind != "arc":
        raise DataError(
            f"{folder}: only ARC tasks have a text, its rows are {kind}",
            next="give data of ARC tasks; or --set features=null, and take the text out of model.conditioning"
            " ([none] if nothing else is in it)",
        )


def refuse_other_readers(identity: str, world: World) -> None:
    """DataError: processes have different readers under one name, as after a new version came between two downloads."""
    known = sorted(set(world.gather_objects(identity)))
    if len(known) > 1:
        raise DataError(
            f"features.reader: processes have different versions of it: {', '.join(known)}",
            next="name a commit in features.revision",
        )


def _keys(
    prompts: Prompts, splits: dict[str, Split], section: FeaturesSection, reader: Reader, world: World
) -> dict[str, Keys]:
    """Return the keys of all rows; each process works out a share of them."""
    found = {}
    for split in SPLITS:
        telling = Telling(f"{split} prompts named", world)
        mine = range(world.rank, len(splits[split]), world.size)
        with world.together():
            keys = []
            for row in mine:
                keys.append(key_of(text_of(prompts.of(split, row), section, reader), section, reader))
                telling.one(len(mine))
        joined = np.empty((len(splits[split]), 32), np.uint8)
        for rank, part in enumerate(world.gather_objects(b"".join(keys))):
            joined[rank :: world.size] = as_array([part])
        found[split] = joined
    return found


def _texts(
    prompts: Prompts, splits: dict[str, Split], rows: npt.NDArray[Any], section: FeaturesSection, reader: Reader
) -> list[tuple[int, str]]:
    """Return rows, counted through all splits, with their texts, the shortest first: alike in length, read together."""
    bounds = np.cumsum([0, *(len(splits[split]) for split in SPLITS)])
    found = []
    for row in rows.tolist():
        number = int(np.searchsorted(bounds, row, side="right")) - 1
        found.append((row, text_of(prompts.of(SPLITS[number], int(row - bounds[number])), section, reader)))
    return sorted(found, key=lambda one: (len(one[1]), one[0]))


def _keep(
    texts: list[tuple[int, str]], keys: Keys, section: FeaturesSection, reader: Reader, place: Place,
    shared: SharedFeatures | None, world: World,
) -> None:  # fmt: skip
    """Read `texts`, write shards and publish each; what was read is written whatever ends it.

    The last one is published with the keys of the rows.
    """
    size = 2 * section.vectors * section.width
    most, at_once = max(1, SHARD_BYTES // size), max(1, min(8 * section.batch_size, SHARD_BYTES // size))
    waiting: list[tuple[int, Vectors]] = []
    written, telling = time.monotonic(), Telling("prompts read", world)
    try:
        for some in _parts(texts, at_once):
            vectors = reader.read([text for _, text in some])
            waiting += zip((row for row, _ in some), vectors, strict=True)
            HEART.beat()
            telling.one(len(texts), len(some))
            if len(waiting) >= most or time.monotonic() - written > SHARD_SECONDS:
                path = _write(waiting, keys, place)
                waiting = []
                if shared is not None:
                    HEART.rest()  # the store may be away for a while
                    shared.give_shard(place, path)
                written = time.monotonic()
    finally:
        HEART.rest()
        if waiting:
            _write(waiting, keys, place)


def _write(read: list[tuple[int, Vectors]], keys: Keys, place: Place) -> Path:
    some = [keys[row].tobytes() for row, _ in read]
    return write_shard(place.folder, some, np.stack([vectors for _, vectors in read]))


def _parts(texts: list[tuple[int, str]], size: int) -> Iterator[list[tuple[int, str]]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _exchange(place: Place, world: World) -> None:
    """Have every shard of any machine on all of them; where they share the folder, there is nothing to do."""
    if world.size == 1:
        return
    have = [set(names) for names in world.gather_objects(place.shards())]
    for name in sorted(set().union(*have)):
        if all(name in names for names in have):
            continue
        owner = next(rank for rank, names in enumerate(have) if name in names)
        with world.together():
            word = [(place.folder / name).read_bytes() if world.rank == owner else None]
        dist.broadcast_object_list(word, owner, group=world.control)
        with world.together():
            if world.local_rank == 0 and name not in have[world.rank] and word[0] is not None:
                write_whole(place.folder / name, word[0])


class Telling:
    """Says now and then how far something is; on the first process alone, of its own share."""

    def __init__(self, what: str, world: World) -> None:
        self._what, self._first, self._done, self._said = what, world.first, 0, time.monotonic()

    def one(self, total: int, done: int = 1) -> None:
        """Count what is done of `total`."""
        self._done += done
        now = time.monotonic()
        if self._first and now - self._said > SAID_EVERY:
            self._said = now
            say(f"features: {self._done:,} of this process's {total:,} {self._what}")
