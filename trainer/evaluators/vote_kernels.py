"""The compiled loops of voting: names of variants read, keys numbered, the cells of new candidates collected.

All in one file, because numba notices no change of a function in another one (see `compiled`).
Legend: n names, keys or grids.
"""

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

TAIL = b"|||t0|||0123456789"
"""What follows the task in the name of a variant; this one changes nothing."""
NO_NUMBER = -1


class Numbers:
    """Numbers for 128-bit keys, uint64 [n, 2], counted up as keys come for the first time."""

    def __init__(self) -> None:
        self._slots, self._keys, self._count = np.full(1024, NO_NUMBER), np.empty((512, 2), np.uint64), 0

    def __len__(self) -> int:
        return self._count

    def enter(self, keys: UInt64) -> Int64:
        """Return the number of each key, a new one for a new key."""
        if self._count + len(keys) > len(self._keys):
            size = 2 * (self._count + len(keys))
            kept, self._keys = self._keys[: self._count], np.empty((size, 2), np.uint64)
            self._slots = np.full(1 << int(2 * size).bit_length(), NO_NUMBER)
            number_keys(kept, self._slots, self._keys, 0, True, np.empty(len(kept), np.int64))
        numbers = np.empty(len(keys), np.int64)
        self._count = number_keys(keys, self._slots, self._keys, self._count, True, numbers)
        return numbers

    def of(self, keys: UInt64) -> Int64:
        """Return the number of each key, `NO_NUMBER` for one that never came."""
        numbers = np.empty(len(keys), np.int64)
        number_keys(keys, self._slots, self._keys, self._count, False, numbers)
        return numbers


@compiled
def number_keys(keys: UInt64, slots: Int64, known: UInt64, count: int, add: bool, numbers: Int64) -> int:
    """Fill `numbers` [n] with the places of `keys` in `known`, where new ones go if `add`; return how many there are.

    `slots`, of a power of two and never full, holds those places where the first half of a key says, or behind.
    """
    last = np.uint64(len(slots) - 1)
    for n in range(len(keys)):
        one, two = keys[n, 0], keys[n, 1]
        slot = one & last
        while slots[slot] >= 0 and (known[slots[slot], 0] != one or known[slots[slot], 1] != two):
            slot = (slot + np.uint64(1)) & last
        if slots[slot] < 0 and add:
            slots[slot] = count
            known[count, 0], known[count, 1] = one, two
            count += 1
        numbers[n] = slots[slot]
    return count


@compiled
def collect_cells(grids: UInt8, chosen: Int64, areas: Int64, cells: UInt8) -> None:
    """Put the first `areas` cells of each of the `chosen` rows of `grids` into `cells`, one after the other."""
    at = 0
    for k in range(len(chosen)):
        for cell in range(areas[k]):
            cells[at + cell] = grids[chosen[k], cell]
        at += areas[k]


@compiled
def read_names(text: UInt8, ends: Int64, tail: UInt8, turns: Int64, digits: UInt8, plain: Bool, begins: Bool) -> int:
    """Read the names of variants that stand one after the other in `text`, each up to one of `ends` [n].

    `turns` [n], `digits` [n, 10] and whether a name is `plain`, a task's own; `begins`: its task is another one than
    that of the name before. `tail` is `TAIL`. Return the number of a name that is none of a variant, or -1.
    """
    size, bar = len(tail), tail[0]
    before, before_end = 0, 0
    for n in range(len(ends)):
        start, end = ends[n - 1] if n > 0 else 0, ends[n]
        task_end = end - size
        good = task_end >= start
        seen = 0
        for k in range(size):
            if not good:
                break
            letter = text[task_end + k]
            if k == 4:
                good = 48 <= letter < 56
            elif k >= 8:
                good = 48 <= letter < 58 and not seen >> (letter - 48) & 1
                seen |= 1 << (letter - 48)
            else:
                good = letter == tail[k]
        plain[n] = not good
        if good:
            turns[n] = text[task_end + 4] - 48
            for k in range(10):
                digits[n, k] = text[task_end + 8 + k] - 48
        else:
            task_end = end
            turns[n] = 0
            for k in range(10):
                digits[n, k] = k
            for at in range(start, end - 2):
                if text[at] == bar and text[at + 1] == bar and text[at + 2] == bar:
                    return n
        begins[n] = n == 0 or task_end - start != before_end - before
        at = 0
        while not begins[n] and at < task_end - start:
            begins[n] = text[start + at] != text[before + at]
            at += 1
        before, before_end = start, task_end
    return -1
