"""Ballots: who was voted for, how often, and how surely. Candidates are named by 128-bit keys, not compared by cells.

Legend: n ballots, C candidates, Q questions (test inputs) that they answer.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Candidates:
    """Distinct grids, each an answer to one question."""

    keys: npt.NDArray[np.void]
    """[C], 16 bytes each: of the question and the grid."""
    questions: Int64
    """[C]"""
    shapes: Int64
    """Height and width, [C, 2]."""
    starts: Int64
    """Where each one's cells begin in `cells`, [C]."""
    cells: UInt8
    """Colours 0..9 of all of them, row by row."""

    def grid(self, index: int) -> list[list[int]]:
        """Return one as lists of colours; [] where no grid was found in the answer."""
        height, width = self.shapes[index].tolist()
        start = int(self.starts[index])
        rows: list[list[int]] = self.cells[start : start + height * width].reshape(height, width).tolist()
        return rows


@dataclass(frozen=True)
class Ballots:
    """Votes for candidates, in the order in which they count."""

    rows: Int64
    """Row of the split, [n]."""
    rollouts: Int64
    """[n]"""
    votes: Int64
    """The candidate voted for, [n]."""
    q_halt: npt.NDArray[np.float32]
    """The q-head's logit, [n]."""
    candidates: Candidates

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Ballots":
        """Return some of the ballots; the candidates stay."""
        picked = {name: getattr(self, name)[chosen] for name in ("rows", "rollouts", "votes", "q_halt")}
        return replace(self, **picked)


def joined(parts: list[Ballots]) -> Ballots:
    """Return the ballots of all `parts`, one after the other. Candidates keep the order in which they first come."""
    if len(parts) == 1:
        return parts[0]
    keys = np.concatenate([part.candidates.keys for part in parts])
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    first.sort()
    sizes, lengths = ([len(part.candidates.keys) for part in parts], [len(part.candidates.cells) for part in parts])
    before, cells_before = np.cumsum(sizes) - sizes, np.cumsum(lengths) - lengths
    starts = [part.candidates.starts + base for part, base in zip(parts, cells_before, strict=True)]
    votes = [part.votes + base for part, base in zip(parts, before, strict=True)]
    return Ballots(
        rows=np.concatenate([part.rows for part in parts]),
        rollouts=np.concatenate([part.rollouts for part in parts]),
        votes=number[place[np.concatenate(votes)]],
        q_halt=np.concatenate([part.q_halt for part in parts]),
        candidates=Candidates(
            keys=keys[first],
            questions=np.concatenate([part.candidates.questions for part in parts])[first],
            shapes=np.concatenate([part.candidates.shapes for part in parts])[first],
            starts=np.concatenate(starts)[first],
            cells=np.concatenate([part.candidates.cells for part in parts]),
        ),
    )


def sorted_by_row(ballots: Ballots) -> Ballots:
    """Return the ballots in the order of rows and rollouts, however they came."""
    order = np.lexsort((ballots.rollouts, ballots.rows))
    picked = {name: getattr(ballots, name)[order] for name in ("rows", "rollouts", "votes", "q_halt")}
    return replace(ballots, **picked)


@dataclass(frozen=True)
class Ranking:
    """Candidates by their votes, best first, question by question."""

    order: Int64
    """Candidates with at least one vote: those of question 0 in order, then those of question 1, ..."""
    starts: Int64
    """Where each question's begin in `order`, [Q + 1]."""
    counts: Int64
    """Votes, [C]."""
    confidence: npt.NDArray[np.float64]
    """Mean probability of being right by the q-head, [C]; 0 without a vote."""
    places: Int64
    """Place among the candidates of its question, from 0, [C]; a place beyond every number without a vote."""

    def best(self, question: int, most: int) -> list[int]:
        """Return up to `most` candidates of a question, best first."""
        start, stop = self.starts[question], self.starts[question + 1]
        found: list[int] = self.order[start : min(stop, start + most)].tolist()
        return found


NOWHERE = np.iinfo(np.int64).max


def ranked(ballots: Ballots, questions: int) -> Ranking:
    """Rank by votes, then by mean probability in float64, then by which came first: the rule of the reference."""
    total = len(ballots.candidates.keys)
    counts = np.bincount(ballots.votes, minlength=total)
    probability = 1 / (1 + np.exp(-ballots.q_halt.astype(np.float64)))
    sums = np.bincount(ballots.votes, weights=probability, minlength=total)  # one after the other, in this order
    confidence = sums / np.maximum(counts, 1)
    first, backwards = np.empty(total, np.int64), slice(None, None, -1)
    first[ballots.votes[backwards]] = np.arange(len(ballots.votes))[backwards]  # what is written last stays
    voted = np.flatnonzero(counts)
    of = ballots.candidates.questions[voted]
    order = voted[np.lexsort((first[voted], -confidence[voted], -counts[voted], of))]
    starts = np.searchsorted(np.sort(of), np.arange(questions + 1))
    places = np.full(total, NOWHERE)
    places[order] = np.arange(len(order)) - starts[ballots.candidates.questions[order]]
    return Ranking(order, starts, counts, confidence, places)
