"""How fast rows of text are made, by how many processes, and against making documents one by one in plain Python.

    python benchmarks/text_feed.py [MOST WORKERS]

For each phase of the curriculum tokens a second: of this process alone (its CPU seconds), and with workers (seconds on
the clock, this process taking one update after the other and doing nothing else). The plain generator makes the same
kinds of algorithmic documents with `random` and string formatting, and packs them into rows; it holds no items out.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import table

from trainer import data
from trainer.data.text_feed import TextFeed
from trainer.data.tokens import ByteTokenizer
from trainer.dist import World
from trmkit.spec.curriculum import CurriculumData

SLOTS, UPDATES, SEQ_LEN, ALG_TOKENS = 64, 60, 256, 10_000_000
PHASES = {"algorithmic": 0, "mix": ALG_TOKENS, "language": 3 * ALG_TOKENS}
"""Tokens seen at the beginning of what is measured."""


def plain_document(draw: random.Random) -> tuple[str, str]:
    """Return a question and an answer, as somebody would write it first."""
    task = draw.randrange(10)
    digits = [str(draw.randrange(10)) for _ in range(draw.randint(4, 14))]
    a, b = draw.randrange(1000), draw.randrange(1000)
    if task == 0:
        return f"What is ({a % 97} + {b % 97}) mod 97? Answer:", f" {(a + b) % 97}"
    if task == 1:
        bits = [draw.randrange(2) for _ in range(draw.randint(2, 8))]
        return f"Parity of {' '.join(map(str, bits))}? Answer:", f" {sum(bits) % 2}"
    if task == 2:
        return f"What is {a} + {b}? Answer:", f" {a + b}"
    if task == 3:
        return f"What is {a % 100} * {b % 100}? Answer:", f" {(a % 100) * (b % 100)}"
    if task == 4:
        return f"Copy these digits: {' '.join(digits)}. Answer:", f" {' '.join(digits)}"
    if task == 5:
        return f"Reverse these digits: {' '.join(digits)}. Answer:", f" {' '.join(reversed(digits))}"
    if task == 6:
        text, height, length = "", 0, 2 * draw.randint(3, 15)
        while len(text) < length:
            up = height == 0 or (height < 4 and height < length - len(text) and draw.random() < 0.5)
            text, height = text + "()"[not up], height + (1 if up else -1)
        return f"Are these brackets balanced: {text}? Answer:", " yes"
    if task == 7:
        words, total = [str(a % 80 + 20)], a % 80 + 20
        for _ in range(draw.randint(2, 8)):
            change = draw.randint(1, 50) * draw.choice((-1, 1))
            words, total = [*words, "+-"[change < 0], str(abs(change))], total + change
        return f"What is {' '.join(words)}? Answer:", f" {total}"
    if task == 8:
        return f"Which sign belongs between {a} and {b}: <, > or =? Answer:", f" {'<=>'[(a > b) - (a < b) + 1]}"
    return f"Which number comes after {a}? Answer:", f" {a + 1}"


def plain_rows(rows: int, draw: random.Random) -> np.ndarray:
    """Return inputs, labels and documents of so many rows."""
    tokenizer, found = ByteTokenizer(), np.zeros((3, rows, SEQ_LEN), np.int32)
    found[1] = -100
    row = column = number = 0
    while row < rows:
        prompt, answer = (tokenizer.encode(text) for text in plain_document(draw))
        tokens = [tokenizer.start, *prompt, *answer, tokenizer.end]
        if column + len(tokens) - 1 > SEQ_LEN:
            found[2, row, column:] = number
            row, column, number = row + 1, 0, 0
            continue
        here = slice(column, column + len(tokens) - 1)
        found[0, row, here], found[2, row, here] = tokens[:-1], number
        found[1, row, column + len(prompt) : here.stop] = tokens[1 + len(prompt) :]
        column, number = here.stop, number + 1
    return found


def speed_alone(feed: TextFeed) -> float:
    """Return tokens for each CPU second of this process."""
    feed.next(None)
    started = time.process_time()
    for _ in range(UPDATES):
        feed.next(None)
    return UPDATES * SLOTS * SEQ_LEN / (time.process_time() - started)


def speed_with_workers(feed: TextFeed) -> float:
    """Return tokens for each second on the clock, once what was made ahead is used up."""
    for _ in range(20):
        feed.next(None)
    started = time.perf_counter()
    for _ in range(4 * UPDATES):
        feed.next(None)
    return 4 * UPDATES * SLOTS * SEQ_LEN / (time.perf_counter() - started)


def main(most: int) -> None:
    """Print both tables for 0 .. `most` workers."""
    torch.set_num_threads(1)
    section = CurriculumData(source="curriculum", alg_tokens=ALG_TOKENS, seq_len=SEQ_LEN)
    world = World(0, 1, 0, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as root:
        started = time.process_time()
        folder = data.build(section, Path(root))
        built = time.process_time() - started
        started = time.process_time()
        plain_rows(400, random.Random(0))
        plain = 400 * SEQ_LEN / (time.process_time() - started)
        print(f"built in {built:.1f} CPU seconds; plain Python makes {plain:,.0f} tokens a CPU second\n")
        lines = []
        for phase, tokens in PHASES.items():
            for workers in range(most + 1):
                feed = TextFeed(folder, section, 0, SLOTS, world, workers)
                feed.restore({"row": tokens // SEQ_LEN, "language_0": 0})
                found = speed_with_workers(feed) if workers else speed_alone(feed)
                feed.close()
                lines.append((phase, str(workers), f"{found:,.0f}", f"{found / plain:.1f} x"))
        table(("phase", "workers", "tokens / s", "against plain Python"), lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
