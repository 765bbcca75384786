"""Text of many examples at once, as tables of bytes in which 0 is nothing.

Parts of a text are put side by side, and what is nothing is left out at the very end; so no part needs to know how long
the others are.

Legend: `n` examples, `W` columns of a table, `P` numbers of an example.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainer.data.counter import Int64

UInt8 = npt.NDArray[np.uint8]
EMPTY = int(np.iinfo(np.int64).min)
"""Stands behind the last number of an example."""

_ZERO, _SPACE = ord("0"), ord(" ")


def phrases(texts: Sequence[str]) -> UInt8:
    """Return a table with a row for each of `texts`, uint8 [len(texts), W]."""
    encoded = [text.encode() for text in texts]
    table = np.zeros((len(encoded), max(map(len, encoded))), np.uint8)
    for row, text in zip(table, encoded, strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    return table


def decimal(numbers: Int64) -> UInt8:
    """Return numbers [n] as they are written, with a minus sign where they are negative, uint8 [n, W]."""
    present = numbers != EMPTY
    sizes = np.abs(np.where(present, numbers, 0))
    width = len(str(int(sizes.max(initial=0))))
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    digits = sizes[:, None] // powers
    shown = (digits > 0) & present[:, None]
    shown[:, -1] = present
    table = np.where(shown, digits % 10 + _ZERO, 0).astype(np.uint8)
    if not ((numbers < 0) & present).any():
        return table
    return np.column_stack([np.where((numbers < 0) & present, ord("-"), 0).astype(np.uint8), table])


def symbols(codes: Int64, alphabet: str) -> UInt8:
    """Return codes [n, P] as letters of `alphabet`, one beside the other, uint8 [n, P]."""
    letters = np.frombuffer(alphabet.encode(), np.uint8)
    return np.where(codes == EMPTY, 0, letters[np.maximum(codes, 0)]).astype(np.uint8)


def spaced(codes: Int64, alphabet: str) -> UInt8:
    """Return codes [n, P] as letters of `alphabet` with a space between two, uint8 [n, 2 P - 1]."""
    letters = symbols(codes, alphabet)
    table = np.zeros((len(codes), 2 * codes.shape[1] - 1), np.uint8)
    table[:, ::2] = letters
    table[:, 1::2] = np.where(letters[:, 1:] != 0, _SPACE, 0)
    return table


def strings(table: UInt8) -> list[str]:
    """Return the texts of a table [n, W]."""
    return [row.tobytes().replace(b"\0", b"").decode() for row in table]
