"""Rows of training for language models, made from their numbers alone: no torch, so that any process can make them.

Algorithmic documents are packed in blocks of `BLOCK` row numbers: the documents of a block follow one another through
its algorithmic rows, and only what is left at its end is dropped. (Were every row packed for itself, the document that
does not fit would be dropped in each, and long ones more often than short ones.)

Legend: `N` rows, `L` places of a row, `n` documents.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer.data.algorithmic.documents import BLOCK, DocumentMaker
from trainer.data.algorithmic.grid import GRID_VERSION
from trainer.data.counter import Counted, Int64, key_of, permuted
from trainer.data.language import Text
from trainer.data.mixture import ALGORITHMIC, LANGUAGE, NEEDLE, kinds
from trainer.data.needle import needle, shortest
from trainer.data.packing import Documents, Rows, pack, place
from trainer.data.store import read_json
from trainer.data.tokens import Tokenizer, open_tokenizer
from trmkit.errors import DataError
from trmkit.spec.curriculum import CurriculumData

ITEMS = "items.json"


class Place(NamedTuple):
    """How far training has come: the next row, and how many rows of each corpus were taken before it."""

    row: int
    taken: tuple[int, ...]


class RowMaker:
    """Makes rows of one data set under one seed."""

    def __init__(self, folder: Path, section: CurriculumData, seed: int) -> None:
        """Open the data set in `folder`, built from `section`. DataError: it is damaged, or of another version."""
        version = read_json(folder / ITEMS)
        if not isinstance(version, dict) or version.get("grid_version") != GRID_VERSION:
            raise DataError(
                f"{folder}: was built with another grid of conditions, now it is {GRID_VERSION}",
                next=f"remove {folder}; it is built again",
            )
        self._section, self._seed = section, seed
        self.tokenizer = open_tokenizer(folder)
        self._documents = DocumentMaker(section, seed, self.tokenizer)
        refuse_short_needles(section, self.tokenizer)
        self._shortest = shortest(self.tokenizer)
        self._texts = [
            Text(folder / "language" / str(number), "train", self.tokenizer) for number in range(len(section.language))
        ]
        self._length = 40.0

    def after(self, start: Place, stop: int) -> Place:
        """Return the place at row `stop`, when training is at `start`."""
        found = kinds(self._section, self._seed, np.arange(start.row, stop))
        more = np.bincount(np.maximum(found - LANGUAGE, -1) + 1, minlength=len(start.taken) + 1)[1:]
        return Place(stop, tuple(int(a + b) for a, b in zip(start.taken, more, strict=True)))

    def make(self, start: Place, wanted: Int64) -> Rows:
        """Return the rows with the numbers `wanted` [N], rising and from `start` on."""
        numbers = np.arange(start.row, int(wanted[-1]) + 1)
        kind = kinds(self._section, self._seed, numbers)
        chosen = kind[wanted - start.row]
        rows = Rows.empty(len(wanted), self._section.seq_len, self.tokenizer.pad)
        self._add_algorithmic(rows, wanted, np.flatnonzero(chosen == ALGORITHMIC))
        for row in np.flatnonzero(chosen == NEEDLE):
            self._add_needle(rows, int(row), int(wanted[row]))
        for corpus, text in enumerate(self._texts):
            here = kind == LANGUAGE + corpus
            ordinal = start.taken[corpus] + np.cumsum(here) - 1
            mine = np.flatnonzero(chosen == LANGUAGE + corpus)
            self._add_language(rows, corpus, text, mine, ordinal[wanted[mine] - start.row])
        return rows

    def _add_language(self, rows: Rows, corpus: int, text: Text, mine: Int64, ordinal: Int64) -> None:
        """Write rows of a corpus: all of an epoch in a random order, then those of the next one."""
        if not len(mine):
            return
        count = max(1, len(text) // self._section.seq_len)
        taken = np.empty(len(mine), np.int64)
        for epoch in np.unique(ordinal // count):
            now = ordinal // count == epoch
            key = key_of(self._seed, "epoch", corpus, int(epoch))
            taken[now] = permuted(ordinal[now] % count, count, key)
        cut = text.cut(taken, self._section.seq_len)
        rows.inputs[mine], rows.labels[mine], rows.documents[mine] = cut

    def _add_needle(self, rows: Rows, row: int, number: int) -> None:
        """Write one needle in as much hay as half a row has room for, or more."""
        seq_len = self._section.seq_len
        draws = Counted.of(key_of(self._seed, "hay"), [number])
        context = int(draws.between(0, max(seq_len // 2, min(seq_len, self._shortest)), seq_len)[0])
        item = needle(self.tokenizer, context, float(draws.fractions(1)[0]), self._seed, number, "training")
        prompt, answer = self.tokenizer.encode(item.prompt), self.tokenizer.encode(item.answer)
        tokens = np.array([self.tokenizer.start, *prompt, *answer, self.tokenizer.end], np.int32)
        one = Documents(tokens, np.zeros(1, np.int64), np.array([len(tokens)]), np.array([1 + len(prompt)]))
        place(rows, one, np.zeros(1, np.int64), np.array([row]), np.ones(1, np.bool_))

    def _add_algorithmic(self, rows: Rows, wanted: Int64, mine: Int64) -> None:
        """Pack the blocks that rows `mine` are in, and write those rows."""
        if not len(mine):
            return
        blocks = np.unique(wanted[mine] // BLOCK)
        members = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        algorithmic = members[kinds(self._section, self._seed, members) == ALGORITHMIC]
        documents, bounds = self._packed(blocks, np.bincount(np.searchsorted(blocks, algorithmic // BLOCK)))
        at = np.searchsorted(algorithmic, wanted[mine])
        begins, counts = bounds[at, 0], bounds[at, 1] - bounds[at, 0]
        chosen = np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        heads = np.zeros(len(chosen), np.bool_)
        heads[np.cumsum(counts) - counts] = True
        place(rows, documents, chosen, np.repeat(mine, counts), heads)

    def _packed(self, blocks: Int64, sizes: Int64) -> tuple[Documents, Int64]:
        """Return documents for `sizes` [n] rows of each of `blocks` [n], and the first and last + 1 of every row."""
        seq_len, spare = self._section.seq_len, 1.1
        while True:
            counts = (sizes * seq_len / self._length * spare).astype(np.int64) + 8
            numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            documents = self._documents.make(np.repeat(blocks, counts), numbers)
            longest = int(documents.lengths.max()) - 1
            if longest > seq_len:
                raise DataError(
                    f"a document takes {longest} tokens, and data.seq_len is {seq_len}",
                    next=f"set data.seq_len to more than {longest}",
                )
            before, bounds, missing = 0, [], 0
            for size, count in zip(sizes, counts, strict=True):
                found, short = pack(documents.lengths[before : before + count], int(size), seq_len)
                missing += short
                bounds.append(before + np.column_stack([found[:-1], found[1:]]))
                before += int(count)
            self._length = float(documents.lengths.mean()) - 1  # so that the next guess is better; it changes no row
            if not missing:
                return documents, np.concatenate(bounds)
            spare *= 1.3


def refuse_short_needles(section: CurriculumData, tokenizer: Tokenizer) -> None:
    """See that a needle fits a row, if there are any. DataError: it does not."""
    least = shortest(tokenizer)
    if section.needle_frac and least > section.seq_len:
        raise DataError(
            f"needle: a document takes {least} tokens, and data.seq_len is {section.seq_len}",
            next=f"set data.seq_len to {least} or more, or data.needle_frac to 0",
        )
