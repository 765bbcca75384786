"""Nothing looks ahead, documents do not see one another, and reading token by token gives the same numbers."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from tests.trainer.models.texts import CELLS, VARIANTS, VOCAB, batch, logits, make, of_document
from trainer.models import TrainableModel, sight
from trainer.models.base import Batch
from trainer.models.text import TextModel

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((variant, {}) for variant in VARIANTS),
    ("baseline", {"positions": "nope"}),
    ("latent", {"positions": "nope"}),
    ("latent", {"local_window": 11}),
    ("ssm_mem", {"local_window": 11}),
    ("shared_loop", {"loop_inject": True, "n_unroll_eval": 5}),
    ("act", {"halting": "graves"}),
    ("act", {"halting": "pondernet"}),
    ("ssm", {"negative_eigenvalues": True}),
]
SAMPLED: list[tuple[str, dict[str, Any]]] = [
    (variant, {"positions": "randomized", "position_range": 2000}) for variant in ("baseline", "latent", "ssm_mem")
]
NAMES = ["-".join((variant, *map(str, options.values()))) for variant, options in OPTIONS]
KINDS = pytest.mark.parametrize(("variant", "options"), OPTIONS, ids=NAMES)
AND_SAMPLED = pytest.mark.parametrize(
    ("variant", "options"), OPTIONS + SAMPLED, ids=[*NAMES, *(f"{variant}-randomized" for variant, _ in SAMPLED)]
)


@AND_SAMPLED
def test_what_comes_later_changes_nothing_before(variant: str, options: dict[str, Any]) -> None:
    model, given = make(variant, **options), batch()
    before = logits(model, given)
    for place in (0, 36, 37, 43, 57, 61, 79, CELLS - 1):
        other = given | {"inputs": given["inputs"].clone()}
        other["inputs"][:, place] = (other["inputs"][:, place] + 7) % VOCAB
        after = logits(model, other)
        torch.testing.assert_close(before[:, :place], after[:, :place], rtol=0, atol=1e-6)
        assert (before[:, place] - after[:, place]).abs().max() > 1e-3
        strangers = given["documents"] != given["documents"][:, place, None]
        torch.testing.assert_close(before[strangers], after[strangers], rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", ["latent", "act", "ssm", "ssm_mem"])
def test_the_end_of_a_prompt_is_felt_after_it_and_by_its_own_document_alone(variant: str) -> None:
    model, given = make(variant), batch(rows=2)
    before = logits(model, given)
    given["prompt_ends"][0, 12] = True
    changed = (before - logits(model, given)).abs().amax(-1)[0] > 1e-6
    assert changed[12:15].all()
    assert not changed[:12].any()
    assert not changed[15:].any()  # 15 is the next anchor of its own


@KINDS
def test_a_packed_document_is_read_as_if_it_were_alone(variant: str, options: dict[str, Any]) -> None:
    model, given = make(variant, **options), batch()
    whole = logits(model, given)
    for row in (0, 2):
        for number in range(3):
            alone, place = of_document(given, row, number)
            torch.testing.assert_close(whole[row : row + 1, place], logits(model, alone), rtol=0, atol=1e-5)


def in_pieces(model: TrainableModel, tokens: Tensor, end: int, pieces: list[int]) -> Tensor:
    """Read `tokens` in pieces of the given lengths; a prompt ends at the place `end`."""
    reader = cast(TextModel, model)
    reading, found, first = reader.start(len(tokens), sum(pieces)), [], 0
    for length in pieces:
        last = first + length
        found.append(reader.read(tokens[:, first:last], reading, prompt_ends=last == end + 1))
        first = last
    assert reading.position == first
    return torch.cat(found, 1)


def one_document(rows: int = 2, cells: int = CELLS, end: int = 20) -> Batch:
    given = batch(rows, cells)
    given["documents"].zero_()
    given["prompt_ends"].zero_()
    given["prompt_ends"][:, end] = True
    return given


@AND_SAMPLED
@pytest.mark.parametrize("end", [0, 6, 7, 20, 47])
def test_reading_in_pieces_gives_the_numbers_of_reading_at_once(
    variant: str, options: dict[str, Any], end: int
) -> None:
    model, given = make(variant, **options), one_document(end=end)
    expected = logits(model, given)
    rest = CELLS - end - 1
    for pieces in ([end + 1, rest], [end + 1, *[1] * rest], [1] * CELLS, [end + 1, 17, 1, rest - 18]):
        found = in_pieces(model, given["inputs"], end, pieces)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@KINDS
def test_rows_can_be_forgotten_while_reading(variant: str, options: dict[str, Any]) -> None:
    model, given = make(variant, **options), one_document(rows=4)
    expected, tokens = logits(model, given), given["inputs"]
    reader = cast(TextModel, model)
    reading = reader.start(4, CELLS)
    reader.read(tokens[:, :21], reading, prompt_ends=True)
    reading.keep(torch.tensor([3, 1]))
    kept = tokens[[3, 1]]
    found = [reader.read(kept[:, at : at + 1], reading) for at in range(21, 60)]
    reading.keep(torch.tensor([1]))
    found.append(reader.read(tokens[1:2, 60:], reading))
    torch.testing.assert_close(torch.cat(found[:-1], 1), expected[[3, 1], 21:60], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[-1], expected[1:2, 60:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_reading_more_than_there_is_room_for_is_refused(variant: str) -> None:
    model = cast(TextModel, make(variant, context=32))
    with pytest.raises(ValueError, match="33"):
        model.start(1, 33)
    reading = model.start(1, 30)
    model.read(torch.zeros(1, 30, dtype=torch.int64), reading)
    with pytest.raises(ValueError, match="31 tokens"):
        model.read(torch.zeros(1, 1, dtype=torch.uint8), reading)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_long_text_is_worked_on_in_blocks_of_queries(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = make(variant), batch()
    expected = logits(model, given)
    monkeypatch.setattr(sight, "BLOCK", 10)  # not a multiple of the thoughts of an anchor
    torch.testing.assert_close(logits(model, given), expected, rtol=0, atol=1e-5)
    monkeypatch.setattr(sight, "EXPLICIT", 0)  # the fused kernel
    torch.testing.assert_close(logits(model, given), expected, rtol=0, atol=1e-5)
    found = in_pieces(model, given["inputs"], 20, [21, 60, 1, 14])
    monkeypatch.undo()
    torch.testing.assert_close(found, in_pieces(model, given["inputs"], 20, [21, 75]), rtol=0, atol=1e-5)


def test_prompts_without_room_for_an_anchor_are_told_what_the_one_before_them_knows() -> None:
    model, given = make("latent"), batch(rows=1)
    given["documents"][:] = torch.arange(CELLS) // 4  # shorter than the stride: no anchors but at ends of prompts
    given["prompt_ends"][:] = torch.arange(CELLS) % 4 == 1
    found = logits(model, given)
    given["prompt_ends"][:, 24:] = False  # 96 // 8 / 2 of them have room
    torch.testing.assert_close(logits(model, given), found, rtol=0, atol=0)
    given["prompt_ends"][:, 21:] = False
    assert (logits(model, given) - found)[:, 21:24].abs().max() > 1e-4
