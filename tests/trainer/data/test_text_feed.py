"""Training rows of text: the same for any number of processes and workers, and after a resume; right labels."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.data.test_text_tokens import train_bpe
from trainer.data import build
from trainer.data.language import IGNORED
from trainer.data.mixture import ALGORITHMIC, LANGUAGE, NEEDLE, kinds
from trainer.data.packing import Rows
from trainer.data.text_feed import TextFeed
from trainer.data.text_rows import Place, RowMaker
from trainer.data.text_worker import Worker
from trainer.data.tokens import ByteTokenizer, open_tokenizer
from trainer.dist import World
from trmkit.errors import DataError
from trmkit.spec.curriculum import TASKS, CurriculumData

SLOTS = 8
ROWS = 2048
"""Rows of the first phase of `SECTION`."""
SECTION = CurriculumData(
    source="curriculum",
    alg_tokens=ROWS * 256,
    needle_frac=0.2,
    lexical_frac_phase1=0.2,
    language=({"max_documents": 300}, {"max_documents": 40, "weight": 0.5}),  # type: ignore[arg-type]
    items=20,
)
MIDDLE = {"row": ROWS, "language_0": 300, "language_1": 150}
"""A place where rows of all kinds come."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(SECTION, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def maker(folder: Path) -> RowMaker:
    return RowMaker(folder, SECTION, 7)


def feed_of(folder: Path, world: World, workers: int = 0, slots: int = SLOTS) -> TextFeed:
    return TextFeed(folder, SECTION, 7, slots, world, workers)


def taken(feed: TextFeed, updates: int) -> list[dict[str, Tensor]]:
    found = [feed.next(None) for _ in range(updates)]
    feed.close()
    return found


def same(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def test_a_batch_has_what_a_language_model_needs(folder: Path, alone: World) -> None:
    [batch] = taken(feed_of(folder, alone), 1)
    kind = {"inputs": torch.int32, "labels": torch.int32, "documents": torch.int32, "prompt_ends": torch.bool}
    assert {name: batch[name].dtype for name in kind} == kind
    assert {tuple(batch[name].shape) for name in kind} == {(SLOTS, 256)}


def test_every_row_counts_alike_in_the_loss_however_few_labels_it_has(folder: Path, alone: World) -> None:
    feed = feed_of(folder, alone, slots=64)
    feed.restore(MIDDLE)
    [batch] = taken(feed, 1)
    labels = (batch["labels"] != IGNORED).sum(dim=1)
    assert labels.min() < 10 < 200 < labels.max(), "needles beside language"
    assert batch["label_weight"].dtype == torch.float32
    assert torch.allclose(batch["label_weight"] * labels, torch.ones(64))


def test_a_row_without_labels_weighs_nothing(folder: Path, alone: World) -> None:
    feed = feed_of(folder, alone)
    rows = Rows.empty(2, 256, 0)
    rows.labels[1, 3] = 5
    assert feed._batch(rows)["label_weight"].tolist() == [0, 1]


@pytest.mark.parametrize("start", [None, MIDDLE])
def test_two_processes_take_the_rows_that_one_takes(folder: Path, alone: World, start: dict[str, int] | None) -> None:
    feed = feed_of(folder, alone)
    feeds = [feed_of(folder, World(rank, 2, 0, torch.device("cpu"))) for rank in range(2)]
    for one in (feed, *feeds):
        if start is not None:
            one.restore(start)
    for _ in range(40):
        whole = feed.next(None)
        parts = [one.next(None) for one in feeds]
        assert all(torch.equal(whole[name], torch.cat([part[name] for part in parts])) for name in whole)
        assert len({str(one.state()) for one in (feed, *feeds)}) == 1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_make_the_rows_that_would_be_made_without(folder: Path, alone: World, workers: int) -> None:
    expected = feed_of(folder, alone, slots=64)
    found = feed_of(folder, alone, workers, slots=64)
    for feed in (expected, found):
        feed.restore(MIDDLE)
    assert same(taken(expected, 12), taken(found, 12))
    assert expected.state() == found.state()


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_from_any_update(folder: Path, alone: World, workers: int) -> None:
    feed = feed_of(folder, alone, workers)
    feed.restore(MIDDLE)
    states, batches = [], []
    for _ in range(30):
        states.append(feed.state())
        batches.append(feed.next(None))
    for at in (1, 17):
        feed.restore(states[at])
        assert same([feed.next(None) for _ in range(30 - at)], batches[at:])
    feed.close()


def test_another_batch_size_goes_on_with_the_next_row(folder: Path, alone: World) -> None:
    feed, other = feed_of(folder, alone), feed_of(folder, alone, slots=24)
    for one in (feed, other):
        one.restore(MIDDLE)
    rows = torch.cat([batch["inputs"] for batch in taken(feed, 3)])
    assert torch.equal(rows, taken(other, 1)[0]["inputs"])
    assert feed.state() == other.state()


@pytest.mark.parametrize(
    "state",
    [{}, {"row": 3}, {**MIDDLE, "more": 1}, {**MIDDLE, "row": -1}, {**MIDDLE, "row": 1 << 60}, {**MIDDLE, "row": 2.0}]
    + [{**MIDDLE, "row": True}, {**MIDDLE, "language_0": ROWS}],
)
def test_a_place_that_cannot_be_is_refused(folder: Path, alone: World, state: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="the place in the data is"):
        feed_of(folder, alone).restore(state)


def test_a_row_depends_on_its_number_alone(maker: RowMaker) -> None:
    start = Place(ROWS, (300, 150))
    whole = maker.make(start, ROWS + np.arange(200))
    some = np.array([0, 3, 4, 77, 150, 199])
    part = maker.make(start, ROWS + some)
    for name, array in vars(part).items():
        assert np.array_equal(array, getattr(whole, name)[some])
    after = maker.after(start, ROWS + 120)
    rest = maker.make(after, ROWS + np.arange(120, 200))
    assert np.array_equal(rest.inputs, whole.inputs[120:])


def documents_of(
    maker: RowMaker, first: int, count: int, kind: int
) -> Iterator[tuple[list[int], list[int], list[bool]]]:
    """Return inputs, labels and ends of prompts of every document in rows of a kind, padding left out."""
    start = maker.after(Place(0, (0, 0)), first)
    rows = maker.make(start, first + np.arange(count))
    found = kinds(SECTION, 7, first + np.arange(count))
    for row in np.flatnonzero(found == kind):
        inputs, labels, number = rows.inputs[row], rows.labels[row], rows.documents[row]
        assert set(np.diff(number).tolist()) <= {0, 1}
        for one in range(number[-1] + 1):
            here = number == one
            if not (inputs[here] == 0).all():
                yield inputs[here].tolist(), labels[here].tolist(), rows.prompt_ends[row][here].tolist()


@pytest.mark.parametrize("kind", [ALGORITHMIC, NEEDLE])
def test_only_answers_and_ends_are_learned_and_nothing_is_shifted_twice(maker: RowMaker, kind: int) -> None:
    tokenizer, seen = ByteTokenizer(), 0
    for inputs, labels, prompt_ends in documents_of(maker, ROWS, 200, kind):
        end = prompt_ends.index(True)
        assert sum(prompt_ends) == 1
        assert inputs[0] == tokenizer.start
        assert tokenizer.decode(inputs[: end + 1]).endswith(" Answer:")
        assert labels[:end] == [IGNORED] * end
        assert labels[end:] == [*inputs[end + 1 :], tokenizer.end]
        answer = tokenizer.decode(labels[end:])
        assert answer.startswith(" ")
        assert answer.strip()
        if kind == NEEDLE:
            assert f"The secret code is{answer}." in tokenizer.decode(inputs)
            assert len(inputs) >= 100
        seen += 1
    assert seen > 10


def test_rows_of_tasks_are_full_but_for_what_the_next_document_needs(maker: RowMaker) -> None:
    rows = maker.make(Place(0, (0, 0)), np.arange(400))
    chosen = kinds(SECTION, 7, np.arange(400)) == ALGORITHMIC
    filled = (rows.inputs[chosen] != 0).sum(axis=1)
    assert filled.mean() > 220
    assert (filled > 256 - 130).all(), "no document is longer"
    assert (np.diff((rows.inputs[chosen] != 0).astype(int), axis=1) <= 0).all(), "padding is at the end"
    assert (rows.labels[chosen][rows.inputs[chosen] == 0] == IGNORED).all()


def test_every_task_comes_as_often_as_any_other(maker: RowMaker) -> None:
    found = maker.make(Place(0, (0, 0)), np.arange(4000))
    chosen = kinds(SECTION, 7, np.arange(4000)) == ALGORITHMIC
    ends, labels = found.prompt_ends[chosen].sum(), found.labels[chosen]
    told = {"dyck": (b" yes", b" no"), "compare": (b" <", b" >", b" =")}
    tokens = labels[labels != IGNORED]
    answers = bytes((np.where(tokens == 2, 10, tokens - 4)).astype(np.uint8)).split(b"\n")
    for answer in told.values():
        count = sum(answers.count(word) for word in answer)
        assert abs(count / ends - 1 / len(TASKS)) < 0.01


def test_language_is_taken_once_an_epoch_from_every_corpus(maker: RowMaker, folder: Path) -> None:
    count = len(np.lib.format.open_memmap(folder / "language" / "1" / "train.npy", mode="r")) // 256
    assert count > 50
    found: list[bytes] = []
    place = Place(0, (0, 0))
    while len(found) < 2 * count:
        rows = maker.make(place, place.row + np.arange(512))
        chosen = kinds(SECTION, 7, place.row + np.arange(512)) == LANGUAGE + 1
        found += [row.tobytes() for row in rows.inputs[chosen]]
        place = maker.after(place, place.row + 512)
    first, second = found[:count], found[count : 2 * count]
    assert len(set(first)) == count
    assert set(first) == set(second)
    assert first != second


def test_all_tokens_of_language_are_learned(maker: RowMaker) -> None:
    for inputs, labels, prompt_ends in documents_of(maker, 2 * ROWS, 60, LANGUAGE):
        assert IGNORED not in labels
        assert labels[:-1] == inputs[1:]
        assert not any(prompt_ends)


def test_the_numbers_for_the_log_say_where_training_is(folder: Path, alone: World) -> None:
    feed = feed_of(folder, alone)
    assert feed.numbers() == {
        "tokens": 0,
        "difficulty": 0.5,
        "part_algorithmic": 0.8,
        "part_needle": 0.0,
        "part_language": pytest.approx(0.2),
    }
    feed.restore(MIDDLE)
    assert feed.numbers()["tokens"] == ROWS * 256
    assert feed.numbers()["difficulty"] == 1.0
    assert feed.numbers()["part_needle"] == pytest.approx(0.1)


def test_any_tokenizer_gives_rows_with_the_same_rules(tmp_path: Path, alone: World) -> None:
    train_bpe(tmp_path / "bpe")
    section = SECTION.model_copy(update={"tokenizer": str(tmp_path / "bpe"), "needle_frac": 0.1})
    feed = TextFeed(build(section, tmp_path), section, 7, 16, alone)
    feed.restore(MIDDLE)
    batch = taken(feed, 1)[0]
    tokenizer = open_tokenizer(build(section, tmp_path))
    row, place = (part[0] for part in batch["prompt_ends"].nonzero(as_tuple=True))
    text = tokenizer.decode(batch["inputs"][row][: place + 1].tolist())
    assert text.endswith("Answer:")
    assert batch["labels"].max() < tokenizer.vocab_size
    assert (batch["labels"] == tokenizer.end).any()


def test_a_worker_that_dies_stops_the_training(folder: Path, alone: World) -> None:
    feed = feed_of(folder, alone, 2, slots=64)
    feed.next(None)
    for worker in feed._workers:
        os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"rows of text ended \(signal 9\)\n.*train\.data_workers=0"):
        taken(feed, 200)  # more than they can have made ahead
    feed.close()


def test_a_worker_says_why_it_cannot_work(folder: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path, SECTION, 7)
    with pytest.raises(DataError, match=r"items\.json: no such file"):
        worker.take()
    with pytest.raises(DataError, match=r"items\.json: no such file"):
        worker.take()
    worker.close()


PARENT = """
import sys, time, torch
from pathlib import Path
from tests.trainer.data.test_text_feed import feed_of
from trainer.dist import World
feed = feed_of(Path(sys.argv[1]), World(0, 1, 0, torch.device("cpu")), 2, slots=64)
feed.next(None)
print(*(worker._process.pid for worker in feed._workers), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_training_and_print_nothing(folder: Path, signum: signal.Signals) -> None:
    words = [sys.executable, "-c", PARENT, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    parent = subprocess.Popen(words, start_new_session=True, **pipes)  # type: ignore[call-overload]
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    loaded = [Path(f"/proc/{pid}/maps").read_text() for pid in workers]
    assert not any("libtorch" in maps for maps in loaded)
    os.killpg(parent.pid, signum)
    _, errors = parent.communicate()  # the workers hold the same pipe: it ends when they have ended, too
    assert errors.count(b"Traceback") == (signum == signal.SIGINT), "the parent's own"
    assert b"text_worker" not in errors
    assert len(workers) == 2
