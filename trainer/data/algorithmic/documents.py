"""Documents of algorithmic tasks as tokens: a function of the seed, of a block of rows and of the number in it.

Legend: `n` documents, `W` columns of a table of bytes.
"""

import numpy as np

from trainer.data.algorithmic.grid import HeldOut
from trainer.data.algorithmic.lettering import UInt8, strings
from trainer.data.algorithmic.wording import templates_of, widest, worded
from trainer.data.counter import Counted, Int64, key_of
from trainer.data.mixture import upper_difficulty
from trainer.data.packing import Documents
from trainer.data.tokens import ByteTokenizer, Tokenizer
from trmkit.errors import DataError
from trmkit.spec.curriculum import CurriculumData, Task

BLOCK = 16
"""Row numbers whose algorithmic documents are packed together; difficulty grows from one block to the next."""
PER_BLOCK = 1 << 32
"""Numbers a block has for its documents; none needs so many."""
LOOKED_AT = 20_000
"""Documents that are made to find the longest one, ..."""
TOKENISED = 500
"""... and the longest texts of them that are tokenised, where tokens are not bytes."""

_TASK, _DIFFICULTY, _TEMPLATE = range(3)


class DocumentMaker:
    """Makes documents of the tasks of a section. None is an item of the grid."""

    def __init__(self, section: CurriculumData, seed: int, tokenizer: Tokenizer) -> None:
        self._section, self._seed, self._tokenizer = section, seed, tokenizer
        self._held_out = HeldOut(section.tasks, section.items_seed, section.items)

    def make(self, blocks: Int64, numbers: Int64) -> Documents:
        """Return the documents `numbers` [n] of `blocks` [n], each of a task as likely as any other.

        DataError: so much is held out that nothing is left to train on.
        """
        tasks = self._section.tasks
        indices = blocks * PER_BLOCK + numbers
        draws = Counted.of(key_of(self._seed, "document"), indices)
        upper = upper_difficulty(self._section, (blocks * BLOCK * self._section.seq_len).astype(np.float64))
        difficulty = draws.fractions(_DIFFICULTY) * upper
        of_task = draws.between(_TASK, 0, len(tasks) - 1)
        parts, order, before = [], [], 0
        for number, task in enumerate(tasks):
            chosen = np.flatnonzero(of_task == number)
            if not len(chosen):
                continue
            own = Counted.of(key_of(self._seed, "numbers", task), indices[chosen])
            values = self._held_out.draw(task, own, difficulty[chosen])
            template = draws.rows(chosen).between(_TEMPLATE, 0, templates_of(task) - 1)
            found = self._tokens(*worded(task, values, template))
            parts.append((found.tokens, found.starts + before, found.lengths, found.prompts))
            order.append(chosen)
            before += len(found.tokens)
        tokens, *places = (np.concatenate(each) for each in zip(*parts, strict=True))
        back = np.argsort(np.concatenate(order))
        return Documents(tokens, *(each[back] for each in places))

    def longest(self, task: Task) -> int:
        """Return the places of a row that the longest training document of `task` takes.

        Of bytes no document is longer; of other tokens it is the longest among the longest texts of very many.
        """
        draws = Counted.of(key_of(0, "longest", task), np.arange(LOOKED_AT))
        values = self._held_out.draw(task, draws, np.ones(LOOKED_AT))
        if isinstance(self._tokenizer, ByteTokenizer):
            return widest(task, values) + 1
        found = 0
        for template in range(templates_of(task)):
            prompts, answers = worded(task, values, np.full(LOOKED_AT, template))
            lengths = (prompts != 0).sum(axis=1) + (answers != 0).sum(axis=1)
            long = np.argsort(lengths)[-TOKENISED:]
            found = max(found, int(self._tokens(prompts[long], answers[long]).lengths.max()) - 1)
        return found

    def _tokens(self, prompts: UInt8, answers: UInt8) -> Documents:
        """Return documents of prompts and answers [n, W]."""
        tokenizer = self._tokenizer
        if isinstance(tokenizer, ByteTokenizer):
            return _bytes_as_tokens(prompts, answers, tokenizer)
        asked, asked_lengths = tokenizer.encode_all(strings(prompts))
        said, said_lengths = tokenizer.encode_all(strings(answers))
        lengths = asked_lengths + said_lengths + 2
        ends = np.cumsum(lengths)
        starts = ends - lengths
        tokens = np.empty(int(ends[-1]), np.int32)
        tokens[starts], tokens[ends - 1] = tokenizer.start, tokenizer.end
        for text, counts, begins in (
            (asked, asked_lengths, starts + 1),
            (said, said_lengths, starts + 1 + asked_lengths),
        ):
            tokens[np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(len(text))] = text
        return Documents(tokens, starts, lengths, asked_lengths + 1)


def _bytes_as_tokens(prompts: UInt8, answers: UInt8, tokenizer: ByteTokenizer) -> Documents:
    """Do the same where every byte is a token, without a text of its own for each."""
    text = np.column_stack([prompts, answers])
    table = np.empty((len(text), text.shape[1] + 2), np.int32)
    table[:, 0], table[:, -1] = tokenizer.start, tokenizer.end
    table[:, 1:-1] = text
    table[:, 1:-1] += tokenizer.first
    there = np.ones(table.shape, np.bool_)
    np.not_equal(text, 0, out=there[:, 1:-1])
    lengths = there.sum(axis=1)
    starts = np.cumsum(lengths) - lengths
    return Documents(table[there], starts, lengths, there[:, : 1 + prompts.shape[1]].sum(axis=1))


def refuse_short_rows(maker: DocumentMaker, section: CurriculumData) -> None:
    """See that the longest training document of every task fits a row. DataError: it does not."""
    needed = {task: maker.longest(task) for task in section.tasks}
    longest = max(needed, key=lambda task: needed[task])
    if needed[longest] > section.seq_len:
        raise DataError(
            f"{longest}: a document takes {needed[longest]} tokens, and data.seq_len is {section.seq_len}",
            next=f"set data.seq_len to {needed[longest]} or more, or leave {longest} out of data.tasks",
        )
