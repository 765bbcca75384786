"""Greedy generation in batches."""

from collections.abc import Callable
from typing import cast

import pytest
import torch

from trainer.dist import World
from trainer.evaluators.generate import Bounds, batches, generate, shared
from trainer.models import build
from trainer.models.text import TextModel
from trmkit.spec.ladder import LadderModel, Variant

END = 2
CPU = torch.device("cpu")


@pytest.fixture
def make() -> Callable[..., TextModel]:
    def model(variant: Variant = "baseline", context: int = 64) -> TextModel:
        torch.manual_seed(0)
        cfg = LadderModel(family="ladder", variant=variant, size="pico", context=context, forward_dtype="float32")
        return cast(TextModel, build(cfg, 12, 32, 1).eval())

    return model


def plainly(model: TextModel, prompt: list[int], most: int) -> tuple[list[int], bool]:
    """Return the greedy answer, reading everything anew for every token."""
    answer: list[int] = []
    while len(answer) < most:
        reading = model.start(1, len(prompt) + len(answer))
        logits = model.read(torch.tensor([prompt]), reading, prompt_ends=True)
        if answer:
            logits = model.read(torch.tensor([answer]), reading)
        token = int(logits[0, -1].argmax())
        if token == END:
            return answer, True
        answer.append(token)
    return answer, False


@pytest.mark.parametrize("variant", ["baseline", "act", "ssm_mem"])
def test_an_answer_does_not_depend_on_its_batch(make: Callable[..., TextModel], variant: Variant) -> None:
    model = make(variant)
    draw = torch.Generator().manual_seed(1)
    prompts = [torch.randint(3, 12, (length,), generator=draw).tolist() for length in (3, 17, 3, 3, 20, 17, 3)]
    found = generate(model, prompts, END, Bounds(12, 4, 1000), CPU)
    for prompt, answer in zip(prompts, found, strict=True):
        assert (answer.tokens, answer.ended) == plainly(model, prompt, 12)


def test_an_answer_ends_with_the_context(make: Callable[..., TextModel]) -> None:
    [answer] = generate(make(context=24), [[3] * 20], 99, Bounds(50, 4, 1000), CPU)
    assert len(answer.tokens) == 4
    assert not answer.ended


def test_a_batch_has_one_length_and_stays_within_bounds() -> None:
    lengths = [5] * 10 + [100, 100] + [7]
    found = batches(lengths, Bounds(new_tokens=10, rows=4, tokens=120))
    assert sorted(index for batch in found for index in batch) == list(range(13))
    assert all(len({lengths[index] for index in batch}) == 1 for batch in found)
    assert [len(batch) for batch in found] == [1, 1, 1, 4, 4, 2]


def test_every_process_gets_all_answers_in_their_order() -> None:
    halves: list[list[str]] = []

    class Two(World):
        def gather_objects(self, value: object) -> list[object]:
            return list(halves)

    wanted = list("abcde")
    for rank in (0, 1):
        halves.append([letter.upper() for letter in wanted[rank::2]])
    found = shared(Two(0, 2, 0, CPU), wanted, lambda mine: [])
    assert found == list("ABCDE")


def test_between_batches_somebody_may_stop_it(make: Callable[..., TextModel]) -> None:
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(make(), [[3, 4], [3, 4, 5], [3]], END, Bounds(2, 4, 100), CPU, check)
