"""`--set a.b=c`."""

import pytest

from tests.trmkit.test_load import GOOD, message
from trmkit.spec.load import loads


def test_a_value_follows_the_rules_of_yaml() -> None:
    run = loads(GOOD, overrides=["train.lr=3e-4", "train.compile=true", "train.betas=[0.5, 0.6]", "train.threads=null"])
    assert (run.train.lr, run.train.compile, run.train.betas, run.train.threads) == (3e-4, True, (0.5, 0.6), None)


def test_a_whole_section_can_be_given() -> None:
    run = loads(GOOD, overrides=["data={source: sudoku-generated, side: 4}"])
    assert run.data.model_dump(include={"source", "side"}) == {"source": "sudoku-generated", "side": 4}


def test_a_missing_section_is_made() -> None:
    assert loads(GOOD, overrides=["train.log.every_steps=3"]).train.log.every_steps == 3
    assert loads(GOOD + "evaluate:\n", overrides=["evaluate.sample=3"]).evaluate.sample == 3


def test_the_last_of_two_wins() -> None:
    assert loads(GOOD, overrides=["seed=1", "seed=2"]).seed == 2


def test_text_after_the_first_equals_sign_is_the_value() -> None:
    assert loads(GOOD, overrides=["storage.path=a=b"]).storage.path == "a=b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.lr", "'--set train.lr': there is no '=' in it"),
        ("=3", "'--set =3': '' is not a path of keys"),
        ("train..lr=3", "'--set train..lr=3': 'train..lr' is not a path of keys"),
        ("train.0=3", "'train.0' is not a path of keys"),
        ("train.lr.x=3", "'--set train.lr.x=3': train.lr is a single value"),
        ("name.x=3", "name is a single value"),
        ("train.lr=[1", "--set train.lr=[1: not valid YAML"),
        ("train.lr=*x", "--set train.lr=*x: the alias *x is not allowed"),
        ("train.lr={a: 1, a: 2}", "--set train.lr={a: 1, a: 2}: the key a is here a second time"),
        ("train.lr=\udcff", "the control character"),
        ("train.lrr=3", "--set train.lrr=3: train.lrr: unknown key; did you mean 'lr'?"),
        ("train.lr=fast", "--set train.lr=fast: train.lr: expected a number, found 'fast'"),
        ("train=", "--set train=: train: expected a section: keys with values, found nothing"),
        ("tain.lr=3", "--set tain.lr=3: tain: unknown key; did you mean 'train'?"),
    ],
)
def test_a_mistake_names_the_override(override: str, said: str) -> None:
    assert said in message(GOOD.replace("steps: 10", "steps: 10\n  lr: 1"), override)


def test_a_key_under_a_list_is_refused() -> None:
    text = GOOD.replace("canvas: 10", "collections: [arc1/evaluation]")
    assert "data.collections is a list; set the whole list" in message(text, "data.collections.first=x")


def test_all_malformed_overrides_are_said_at_once() -> None:
    assert len(message(GOOD, "a", "b", "train.lr=[").splitlines()) == 3
