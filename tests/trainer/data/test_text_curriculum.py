"""The data set of language models: what is built, what is refused, how rows are mixed, and what people see of it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.data.test_text_language import write_jsonl
from tests.trainer.data.test_text_tokens import train_bpe
from trainer.__main__ import main
from trainer.data import build, is_current, place_of, source_of
from trainer.data.algorithmic.documents import DocumentMaker
from trainer.data.algorithmic.grid import conditions, items
from trainer.data.expect import expected
from trainer.data.mixture import ALGORITHMIC, LANGUAGE, NEEDLE, kinds, parts, upper_difficulty
from trainer.data.needle import ROOM, needle, shortest
from trainer.data.store import read_metadata
from trainer.data.text_rows import Place, RowMaker
from trainer.data.tokens import ByteTokenizer, Tokenizer, find_tokenizer, open_tokenizer
from trainer.known import write_notes
from trmkit.errors import DataError
from trmkit.spec.curriculum import TASKS, CurriculumData
from trmkit.store.layout import RUN_FILES, RunDirectory

SMALL: dict[str, Any] = {"source": "curriculum", "items": 5, "language": [{"max_documents": 120}]}


def section_of(**changed: Any) -> CurriculumData:
    return CurriculumData.model_validate({**SMALL, **changed})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(section_of(), tmp_path_factory.mktemp("data"))


def test_a_data_set_has_the_items_in_the_order_of_the_grid(folder: Path) -> None:
    found = json.loads((folder / "items.json").read_text())
    assert found["seed"] == 1234
    listed = [(one["task"], one["name"], one["iid"], one["length"]) for one in found["conditions"]]
    assert listed == [(c.task, c.name, c.iid, c.length) for c in conditions(TASKS)]
    for one, condition in zip(found["conditions"], conditions(TASKS), strict=True):
        assert one["items"] == [[item.prompt, item.answer] for item in items(condition, 1234, 5)]


def test_what_is_foretold_is_what_is_built(folder: Path, tmp_path: Path) -> None:
    foretold = expected(section_of(), tmp_path)
    built = expected(section_of(), folder.parent)
    assert (foretold[:2], foretold[2], built[2]) == (built[:2], False, True)
    assert built[0] == read_metadata(folder) == read_metadata(folder, "test")
    assert (built[0].vocab_size, built[0].seq_len, built[0].num_puzzle_identifiers) == (260, 256, 1)
    assert built[1] == 100_000_000 // 256


def test_runs_that_mix_their_rows_otherwise_share_a_data_set(folder: Path) -> None:
    others = {"alg_tokens": 5000, "needle_frac": 0.0, "difficulty_schedule": "step"}
    assert place_of(section_of(**others), folder.parent) == folder
    assert place_of(section_of(seq_len=300), folder.parent) != folder
    assert place_of(section_of(items=6), folder.parent) != folder


def test_two_builds_are_the_same_and_a_changed_file_is_noticed(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "texts" / "a.jsonl")
    train_bpe(tmp_path / "bpe")
    section = section_of(tokenizer=str(tmp_path / "bpe"), language=[{"path": str(file.parent)}], tasks=["parity"])
    one, two = (build(section, tmp_path / name) for name in ("one", "two"))
    for path in one.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()
    source = source_of(section)
    assert set(source.files) == {"tokenizer tokenizer.json", f"language 0 {file}"}
    assert is_current(one, source)
    write_jsonl(file, ["something else", "and more"])
    assert not is_current(one, source)


def test_rows_that_are_too_short_are_refused_with_the_task_and_the_least_length(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^dyck: a document takes \d+ tokens, and data\.seq_len is 64\n") as found:
        build(section_of(seq_len=64, tasks=["parity", "dyck"], needle_frac=0.0), tmp_path)
    least = int(found.value.next.split()[3])
    assert build(section_of(seq_len=least, tasks=["dyck"], needle_frac=0.0), tmp_path).is_dir()
    with pytest.raises(DataError, match=r"needle: a document takes \d+ tokens, and .* 90\n.*needle_frac to 0"):
        build(section_of(seq_len=90, tasks=["addition"]), tmp_path)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_no_training_document_is_longer_than_was_said(kind: str, tmp_path: Path) -> None:
    tokenizer = find_tokenizer("byte" if kind == "byte" else str(train_bpe(tmp_path)))
    for task in TASKS:
        maker = DocumentMaker(section_of(tasks=[task], alg_tokens=1), 3, tokenizer)
        made = maker.make(np.full(3000, 10), np.arange(3000))
        said = maker.longest(task)
        assert said - 12 < int(made.lengths.max()) - 1 <= said, task


def test_a_data_set_of_another_grid_is_not_trained_on(tmp_path: Path) -> None:
    folder = build(section_of(tasks=["copy"]), tmp_path)
    (folder / "items.json").write_text(json.dumps({"grid_version": "0"}))
    with pytest.raises(DataError, match=r"another grid of conditions.*\n.*remove"):
        RowMaker(folder, section_of(tasks=["copy"]), 0)


def test_a_run_keeps_the_tokenizer_of_its_data(folder: Path, tmp_path: Path) -> None:
    write_notes(folder, RunDirectory(tmp_path))
    assert isinstance(open_tokenizer(tmp_path), ByteTokenizer)
    assert json.loads((tmp_path / "data.json").read_text())["dataset"]["vocab_size"] == 260
    assert not (tmp_path / "identifiers.json").exists()


def test_a_run_brought_from_a_store_has_its_tokenizer(tmp_path: Path) -> None:
    section = section_of(tokenizer=str(train_bpe(tmp_path / "bpe")), tasks=["copy"])
    run, brought = tmp_path / "run", tmp_path / "brought"
    for folder in (run, brought):
        folder.mkdir()
    write_notes(build(section, tmp_path / "data"), RunDirectory(run))
    for name in RUN_FILES:
        if (run / name).exists():
            shutil.copy(run / name, brought / name)
    assert sorted(path.name for path in brought.iterdir()) == ["data.json", "tokenizer.json", "tokens.json"]
    assert open_tokenizer(brought).encode("a story") == open_tokenizer(run).encode("a story")


def test_the_mixture_goes_from_tasks_to_language_over_the_band() -> None:
    section = section_of(alg_tokens=1000, mix_band_tokens=200)
    found = parts(section, np.array([0, 799, 1000, 1200, 10**9], np.float64))
    assert np.allclose(found.algorithmic, [0.95, 0.95, 0.55, 0.15, 0.15])
    assert np.allclose(found.needle, [0, 0, 0.01, 0.02, 0.02])
    assert np.allclose(found.algorithmic + found.needle + found.language, 1)
    sudden = parts(section_of(alg_tokens=1000, mix_band_tokens=0), np.array([999, 1000], np.float64))
    assert np.allclose(sudden.algorithmic, [0.95, 0.15])


@pytest.mark.parametrize(
    ("schedule", "middle"),
    [("linear", [0.5, 0.625, 0.75, 1, 1]), ("cosine", [0.5, 0.573, 0.75, 1, 1])] + [("step", [0.5, 0.5, 0.75, 1, 1])],
)
def test_difficulty_grows_to_its_full_height_over_the_first_phase(schedule: str, middle: list[float]) -> None:
    section = section_of(alg_tokens=1000, difficulty_schedule=schedule)
    found = upper_difficulty(section, np.array([0, 250, 500, 1000, 5000], np.float64))
    assert np.allclose(found, middle, atol=1e-3)


def test_rows_are_drawn_with_the_chances_of_their_moment() -> None:
    corpora = [{"max_documents": 9, "weight": 3.0}, {"max_documents": 9}]
    section = section_of(alg_tokens=256, needle_frac=0.25, persistent_alg_frac=0.35, language=corpora)
    counts = np.bincount(kinds(section, 0, np.arange(1000, 41_000)), minlength=4) / 40_000
    assert counts[[ALGORITHMIC, NEEDLE]].tolist() == pytest.approx([0.35, 0.25], abs=0.01)
    assert counts[LANGUAGE:].tolist() == pytest.approx([0.3, 0.1], abs=0.01)


@pytest.fixture(params=["byte", "bpe"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    return find_tokenizer("byte" if request.param == "byte" else str(train_bpe(tmp_path)))


@pytest.mark.parametrize("context", [128, 1024, 4096])
@pytest.mark.parametrize("depth", [0.0, 0.25, 0.9, 1.0])
def test_a_needle_lies_at_its_depth_in_a_context_that_it_nearly_fills(
    tokenizer: Tokenizer, context: int, depth: float
) -> None:
    for index in range(3):
        item = needle(tokenizer, context, depth, 5, index)
        assert item == needle(tokenizer, context, depth, 5, index)
        used = len(tokenizer.encode(item.prompt))
        assert context - ROOM - 24 <= used <= context - ROOM
        code = item.answer.strip()
        assert item.answer == f" {code}"
        assert 1000 <= int(code) <= 9999
        before, after = item.prompt.split(f"The secret code is {code}.")
        assert after.endswith("Question: What is the secret code? Answer:")
        assert code not in before + after
        assert not before or before.endswith(". "), "it lies between two sentences"
        after = after.removesuffix("Question: What is the secret code? Answer:").strip()
        one, two = (len(tokenizer.encode(text)) for text in (before, after))
        assert one == pytest.approx(depth * (one + two), abs=20)


def test_needles_differ_by_number_and_seed_and_only_in_place_by_depth(tokenizer: Tokenizer) -> None:
    found = {needle(tokenizer, 512, 0.5, seed, index).prompt for seed in (0, 1) for index in range(5)}
    assert len(found) == 10
    early, late = (needle(tokenizer, 512, depth, 0, 0) for depth in (0.0, 1.0))
    assert sorted(early.prompt.split(". ")) == sorted(late.prompt.split(". "))
    assert early.answer == late.answer


@pytest.mark.parametrize("context", [-1, 16, 40])
def test_a_context_without_room_for_a_needle_is_refused_with_the_least_one(tokenizer: Tokenizer, context: int) -> None:
    least = shortest(tokenizer)
    assert needle(tokenizer, least, 0.5, 0, 0).prompt.count(".") >= 2
    for short in (context, least - 1):
        with pytest.raises(DataError, match=rf"context of {short} tokens .*\n.*next: .* {least} tokens or more"):
            needle(tokenizer, short, 0.5, 0, 0)


def test_no_needle_of_training_is_one_that_is_scored(tmp_path: Path) -> None:
    section = section_of(seq_len=160, tasks=["copy"], alg_tokens=1, needle_frac=0.9, persistent_alg_frac=0.0)
    rows = RowMaker(build(section, tmp_path), section, 1234).make(Place(1, (0,)), np.arange(1, 41))
    trained = {row: rows.inputs[row].tolist() for row in np.flatnonzero(rows.prompt_ends.any(axis=1)).tolist()}
    assert len(trained) > 20
    tokenizer = ByteTokenizer()
    for row, tokens in trained.items():
        prompt = tokenizer.decode(tokens).split(" Answer:")[0]
        for context in range(shortest(tokenizer), 161):
            scored = needle(tokenizer, context, 0.5, 1234, row + 1).prompt.split(" Answer:")[0]
            assert sorted(scored.split(". ")) != sorted(prompt.split(". "))


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["data", *arguments]) == 0
    return capsys.readouterr().out.strip()


def test_people_see_how_much_text_there_is_and_some_documents(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [listed] = json.loads(out(capsys, "list", "--root", str(folder.parent), "-o", "json"))
    assert listed["rows"]["test"] == 250
    assert 100 < listed["rows"]["train"] < 120
    table = out(capsys, "list", "--root", str(folder.parent))
    assert re.search(rf" {listed['rows']['train']} documents +250 items ", table)
    shown = out(capsys, "show", str(folder))
    assert not re.search("cells|groups|puzzle|grid", shown)
    assert "rows of 256 tokens" in shown
    [first, *_] = items(conditions(TASKS)[0], 1234, 1)
    assert first.prompt + first.answer in shown
    assert "Once upon a time" in shown
    described = json.loads(out(capsys, "show", str(folder), "-o", "json"))
    assert set(described["documents"]) == {*TASKS, "language 0"}
    assert described["splits"]["train"]["documents"] == listed["rows"]["train"]
    page = tmp_path / "page.html"
    assert out(capsys, "preview", str(folder), "--out", str(page), "--rows", "3") == str(page)
    assert page.read_text().count("mod 97?") == 3
