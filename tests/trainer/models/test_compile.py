"""What `train.compile` does where, what it takes, and how often something is compiled."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from tests.trainer.models.test_trm import batch, make
from trainer.models.prepare import is_compiled, lacking, prepare
from trmkit.errors import SpecError
from trmkit.spec.train import TrainSection

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def counted() -> Iterator[Any]:
    """Torch's own counters of what was compiled, from zero."""
    torch._dynamo.reset()
    counters.clear()
    yield counters["stats"]
    torch._dynamo.reset()


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no program is found."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)


def test_auto_leaves_a_cpu_alone_and_true_and_false_are_taken_at_their_word() -> None:
    assert [is_compiled(TrainSection(steps=1, compile=c), CPU) for c in ("auto", True, False)] == [False, True, False]


def test_auto_compiles_on_a_gpu_that_has_what_it_takes_unless_weights_are_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.models.prepare.find_spec", lambda name: name)
    assert is_compiled(TrainSection(steps=1), GPU)
    assert not is_compiled(TrainSection(steps=1, parallel="fsdp"), GPU)


def test_a_compiler_named_in_the_environment_is_the_one_that_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert lacking(CPU) == "a C++ compiler"


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_auto_goes_on_and_true_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.models.prepare.find_spec", lambda name: name)
    prepare(make(), TrainSection(steps=1))
    assert not is_compiled(TrainSection(steps=1), GPU)
    with pytest.raises(SpecError, match=r"train\.compile: .* a C\+\+ compiler, and none is found"):
        prepare(make(), TrainSection(steps=1, compile=True))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # torch's own: its compiler's imports, and how it looks at gradients
@pytest.mark.parametrize("mlp_t", [False, True], ids=["attention", "mlp_t"])
def test_batches_of_many_sizes_are_compiled_for_twice_and_change_no_number(counted: Any, mlp_t: bool) -> None:
    options = {"mlp_t": True, "pos_encodings": "none"} if mlp_t else {}
    plain, compiled = make(**options).eval(), make(**options).eval()
    prepare(compiled, TrainSection(steps=1, compile=True))
    with torch.no_grad():
        for rows in (9, 8, 6, 5, 3, 2):
            expected, found = (model(None, batch(rows)).outputs["logits"] for model in (plain, compiled))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert counted["unique_graphs"] == 2  # one for the first size, one for any
