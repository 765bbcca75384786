"""The text of rows as training, evaluation and predictions have it: kept vectors, or those of a reader at hand.

Legend: n prompts, B rows, S vectors of a prompt, F numbers of each.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from trainer.data import place_of
from trainer.data.store import Beside, Split
from trainer.dist import World
from trainer.features.cache import Kept, Place, Shards
from trainer.features.keys import as_array, folder_name, key_of, text_of
from trainer.features.prompts import Prompt, Prompts
from trainer.features.readers import Reader, Vectors, identity_here, open_reader
from trainer.features.readers.hashing import IDENTITY
from trainer.features.stage import (
    counted,
    place_for,
    read_features,
    reader_to_take,
    refuse_other_readers,
    refuse_what_has_no_text,
    take,
)
from trmkit.errors import DataError, SpecError
from trmkit.spec.features import HASH, FeaturesSection
from trmkit.spec.run import RunFile

NAME = "text"
"""What a batch calls it."""
AT_HAND = 256 << 20
"""Bytes of vectors that a reader at hand remembers."""


class Texts:
    """What a reader makes of prompts: looked up where it is kept, else read, and remembered for a while."""

    def __init__(self, section: FeaturesSection, device: torch.device, root: Path | None = None) -> None:
        """Look for vectors that are kept below `root`, if it is given; the reader is opened when a prompt comes."""
        self._section, self._device = section, device
        self._root = root
        self._known: OrderedDict[bytes, Vectors] = OrderedDict()
        self._most = max(1, AT_HAND // (2 * section.vectors * section.width))

    @cached_property
    def _reader(self) -> Reader:
        return open_reader(self._section, self._device)

    @property
    def identity(self) -> str:
        """What the reader is called. See `open_reader` for what is raised."""
        return self._reader.identity

    @cached_property
    def _shards(self) -> Shards | None:
        if self._root is None:
            return None
        folder = self._root / folder_name(self._section)
        return Shards(Place(folder, folder), self._section)

    def of(self, prompts: Sequence[Prompt]) -> Vectors:
        """Return the vectors of `prompts`, float16 [n, S, F]. See `open_reader` for what is raised."""
        texts = [text_of(prompt, self._section, self._reader) for prompt in prompts]
        keys = [key_of(text, self._section, self._reader) for text in texts]
        found = {key: self._known[key] for key in keys if key in self._known}
        found |= self._kept([key for key in dict.fromkeys(keys) if key not in found])
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            found |= dict(zip(missing, self._reader.read(list(missing.values())), strict=True))
        for key, vectors in found.items():
            self._known[key] = vectors
            self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return np.stack([found[key] for key in keys])

    def _kept(self, keys: list[bytes]) -> dict[bytes, Vectors]:
        if self._shards is None or not keys:
            return {}
        places = self._shards.find(as_array(keys))
        here = np.flatnonzero(places >= 0)
        return dict(zip((keys[index] for index in here), self._shards.get(places[here]), strict=True))


class Online:
    """The text of the rows of a split, read when they are asked for, as `trainer.data.store.Beside` has it."""

    def __init__(self, texts: Texts, prompts: Prompts, split: str) -> None:
        self._texts, self._prompts, self._split, self.identity = texts, prompts, split, texts.identity

    def get(self, rows: npt.NDArray[np.int64]) -> Vectors:
        """Return the vectors of `rows` [B], float16 [B, S, F]."""
        return self._texts.of([self._prompts.of(self._split, int(row)) for row in rows])


def with_text(run: RunFile, folder: Path, splits: Mapping[str, Split], world: World) -> dict[str, Split]:
    """Return the `splits` of the data set in `folder`, with the text of each row if `run` reads any.

    Every process calls it. What is not kept here is brought from the store; the reader without weights makes it now.
    DataError: it is neither here nor there, and making it takes a language model, which no training loads unasked.
    """
    section = run.features
    if section is None:
        return dict(splits)
    beside: dict[str, Beside] = {}
    if section.online:
        refuse_what_has_no_text(folder)
        texts, prompts = Texts(section, world.device), Prompts(splits)
        with world.together():
            identity = texts.identity
        refuse_other_readers(identity, world)
        beside = {split: Online(texts, prompts, split) for split in splits}
    else:
        place, reader = _made(run, section, folder, world)
        shards = Shards(place, section, verify=False)
        keys = place.keys(reader) or {}
        beside = {split: Kept(shards, keys[split], reader) for split in splits}
        _refuse_other_lengths(place.keys_of(reader), splits, {split: len(keys[split]) for split in splits})
    return {name: replace(split, beside={**split.beside, NAME: beside[name]}) for name, split in splits.items()}


def reader_of(split: Split) -> str:
    """Return the identity of the reader of a split's text; empty: it has none."""
    return split.beside[NAME].identity if NAME in split.beside else ""


def reader_known(run: RunFile) -> str:
    """Return the identity of the reader whose text `with_text` would give now; empty: none is known."""
    section = run.features
    if section is None:
        return ""
    at_hand = identity_here(section)
    if at_hand is not None:
        return at_hand
    if section.online:
        try:
            return open_reader(section.model_copy(update={"quantize": "none"})).identity  # which it does not depend on
        except (DataError, SpecError):
            return ""
    folder = place_of(run.data, Path(run.storage.data))
    return (place_for(run, folder).reader() or "") if folder.is_dir() else ""


def _made(run: RunFile, section: FeaturesSection, folder: Path, world: World) -> tuple[Place, str]:
    """Return where the vectors are, all of them, and whose they are."""
    place = place_for(run, folder)
    for bring in (False, True):
        if bring:
            take(run, place, world)
        reader = reader_to_take(place, section, world)
        counts = counted(place, section, reader, world)
        if reader is not None and not world.largest(int(counts is None or counts.read > 0)):
            return place, reader
    if section.reader != HASH:
        what = "has not been read" if counts is None else f"lacks {counts.read:,} of {counts.distinct:,} prompts"
        raise DataError(
            f"{place.folder}: the text of this data set {what}",
            next="python -m trainer features RUN.yaml (trmctl run and a pipeline do it before they train); or"
            " features.online: true for a small reader",
        )
    read_features(run, world)
    return place, IDENTITY


def _refuse_other_lengths(files: Mapping[str, Path], splits: Mapping[str, Split], keys: Mapping[str, int]) -> None:
    for name, split in splits.items():
        if len(split) != keys[name]:
            raise DataError(
                f"{files[name]}: is damaged: has {keys[name]:,} keys for {len(split):,} rows",
                next="delete the file; python -m trainer features RUN.yaml writes it anew",
            )
