"""Language models through the whole trainer: trained, resumed, scored, reported, used."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.trainer.helpers import fingerprint, train_alone
from trainer import checkpoint, stages
from trainer.__main__ import main
from trainer.data.language import LanguageSplit
from trainer.dist import Stopped, World
from trainer.evaluators import perplexity
from trainer.evaluators.algorithmic import held_out
from trainer.known import find_known
from trainer.predict import predict
from trainer.report.page import write_report
from trainer.scope import Part
from trainer.subject import subject_of
from trainer.text_inference import Writer
from trainer.text_scores import results_of
from trmkit.errors import DataError, SpecError
from trmkit.ladder import VARIANTS
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.load import dump, loads
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

RUN = """
name: text
model: {{family: ladder, variant: {variant}, size: pico, dropout: 0.1, K: 2, thought_tokens: 4, max_K: 3, num_mem: 4,
        segment: 16, forward_dtype: float32}}
data: {{source: curriculum, seq_len: 128, tasks: [parity, copy], alg_tokens: 3000, items: 6,
       language: [{{path: grammar, max_documents: 300}}]}}
train: {{steps: 8, batch_size: 4, warmup_steps: 2, lr: 1e-3, optimizer: adamw, grad_clip: 1.0, ema: 0.9, threads: 1,
        data_workers: 0, device: cpu, checkpoint: {{every_steps: 4, every_minutes: null}}, log: {{every_steps: 2}}}}
evaluate: {{every_steps: 4, sample: 7, text: {{suites: [algorithmic, longctx, ppl, depth, self_test], max_new_tokens: 6,
           sample_new_tokens: 4, contexts: [256, 8192], depths: [0.0, 1.0], needles: 2, ppl_tokens: 960,
           rounds: [1, 3]}}}}
storage: {{path: {folder}/runs, data: {folder}/data}}
"""


def run_of(folder: Path, variant: str = "baseline", *overrides: str) -> RunFile:
    return loads(RUN.format(variant=variant, folder=folder), "text.yaml", overrides)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def scored(folder: Path) -> RunFile:
    """Return a run that was trained and scored."""
    torch.set_num_threads(1)
    run = run_of(folder, "latent")
    directory = RunDirectory.of(run)
    directory.root.mkdir(parents=True)
    directory.run_file.write_text(dump(run))
    alone = World(0, 1, 0, torch.device("cpu"))
    stages.run_stages(run, directory, alone, ("build", "train", "evaluate", "report"))
    return run


def results(run: RunFile, name: str = "all") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RunDirectory.of(run).results(name).read_bytes())
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_rung_that_is_killed_goes_on_bit_for_bit(tmp_path: Path, folder: Path, variant: str) -> None:
    scored = "evaluate.every_steps=4" if variant == "act" else "evaluate.every_steps=null"  # once is enough
    whole = run_of(tmp_path / "whole", variant, f"storage.data={folder}/data", scored)
    train_alone(whole)
    half = run_of(tmp_path / "half", variant, f"storage.data={folder}/data", scored)
    train_alone(loads(dump(half), "half.yaml", ["train.steps=4"]))
    first = RunDirectory.of(loads(dump(half), "half.yaml", ["train.steps=4"]))
    target = RunDirectory.of(half)
    target.root.parent.mkdir(parents=True, exist_ok=True)
    first.root.rename(target.root)
    train_alone(half)
    assert fingerprint(target.checkpoints)["model.safetensors"] != ""
    file = tmp_path / "weights.pt"
    target.run_file.write_text(dump(half))
    assert main(["export", str(target.run_file), str(file)]) == 0
    assert torch.load(file, weights_only=True)["config"]["variant"] == variant
    mine, theirs = (fingerprint(RunDirectory.of(run).checkpoints) for run in (half, whole))
    assert {name for name in mine if mine[name] != theirs[name]} == set()


def test_every_suite_leaves_a_file_with_where_its_numbers_are_from(scored: RunFile) -> None:
    everything = results(scored)
    assert list(everything) == ["meta", "algorithmic", "longctx", "ppl", "depth", "self_test"]
    assert everything["meta"]["status"] == "complete"
    for name in ("algorithmic", "longctx", "ppl", "depth", "self_test"):
        one = results(scored, name)
        assert one["meta"]["suite"] == name
        assert {"timestamp", "commit", "hostname", "platform", "torch", "cuda", "checkpoint", "tokenizer", "device",
                "model", "seed", "grid_version", "decoding", "status"} <= set(one["meta"])  # fmt: skip
        assert one[name] == everything[name]


def test_conditions_say_where_they_stand_and_keep_every_item(scored: RunFile) -> None:
    found = results(scored)["algorithmic"]
    assert {one["task"] for one in found["conditions"]} == {"parity", "copy"}
    for one in found["conditions"]:
        assert len(one["right"]) == one["n"] <= 6
        assert one["accuracy"] == one["right"].count("1") / one["n"]
        assert one["tokens_generated"] <= 6 * one["n"]
    inside = [one["accuracy"] for one in found["conditions"] if one["iid"]]
    assert found["iid_accuracy"] == pytest.approx(sum(inside) / len(inside))


def test_texts_longer_than_the_context_are_reported_and_not_dropped(scored: RunFile) -> None:
    read, over = results(scored)["longctx"]["per_context"]
    assert read["metrics"]["by_depth"].keys() == {"0", "1"}
    assert over == {"context_length": 8192, "skipped": "the model reads 4096 tokens at most"}


def test_the_model_passes_its_self_test_and_other_depths_are_tried(scored: RunFile) -> None:
    found = results(scored)
    assert found["self_test"]["passed"], found["self_test"]
    assert [(one["rounds"], one["trained"]) for one in found["depth"]["rounds"]] == [(1, False), (2, True), (3, False)]
    assert 0 < found["ppl"]["bits_per_byte"] < 10


def test_the_run_leaves_pictures_a_page_and_numbers_for_notebooks(scored: RunFile) -> None:
    root = RunDirectory.of(scored).root
    assert all((root / name).read_bytes().startswith(b"\x89PNG") for name in ("loss.png", "accuracy.png"))
    summary = json.loads((root / "summary.json").read_bytes())
    assert summary["step"] == 8
    assert summary["final"]["overall_accuracy"] == results(scored)["algorithmic"]["overall_accuracy"]
    page = (root / "report.html").read_text()
    assert "ladder latent pico" in page
    assert "Parity, by length" in page
    assert "skipped: the model reads 4096 tokens at most" in page
    samples = json.loads((root / "samples.json").read_bytes())
    assert samples["kind"] == "text"
    assert samples["rows"][0]["question"].endswith("Answer:")


def test_an_evaluation_during_training_says_how_each_task_goes(scored: RunFile) -> None:
    lines = [json.loads(line) for line in RunDirectory.of(scored).metrics.read_text().splitlines()]
    tests = [line for line in lines if line["kind"] == "eval"]
    assert [line["step"] for line in tests] == [4, 8]
    assert {"score/parity", "score/copy", "score/iid", "score/ood", "missed_eos", "bits_per_byte"} <= set(tests[0])
    train = [line for line in lines if line["kind"] == "train"]
    assert train[-1]["tokens"] == 8 * 4 * 128
    assert {"part_algorithmic", "difficulty", "ponder_loss"} <= set(train[-1])


def test_a_part_goes_to_its_own_file(scored: RunFile, alone: World) -> None:
    directory = RunDirectory.of(scored)
    files = (directory.evaluation, directory.results("all"), directory.results("algorithmic"))
    before = [file.read_bytes() for file in files]
    part = Part(sample=7, tasks=("parity",), suites=("algorithmic",))
    found = subject_of(scored).score(scored, directory, alone, "last", part)
    assert [file.read_bytes() for file in files] == before
    assert json.loads((directory.root / "results_algorithmic-partial.json").read_bytes())["meta"]["which"] == "last"
    assert found["scope"]["scored"] < found["scope"]["total"]
    assert {one["task"] for one in found["text"]["algorithmic"]["conditions"]} == {"parity"}
    assert json.loads(directory.partial_evaluation.read_bytes())["step"] == 8
    with pytest.raises(SpecError, match="has no task 'dyck'"):
        subject_of(scored).score(scored, directory, alone, "last", Part(tasks=("dyck",)))


def test_what_was_scored_before_an_interruption_is_kept(
    scored: RunFile, alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.evaluators import perplexity

    def stopped(*_: object) -> None:
        raise Stopped(15)

    monkeypatch.setattr(perplexity, "score", stopped)
    with pytest.raises(Stopped):
        subject_of(scored).score(scored, RunDirectory.of(scored), alone, "last", Part(suites=("algorithmic", "ppl")))
    found = json.loads((RunDirectory.of(scored).root / "results_all-partial.json").read_bytes())
    assert found["meta"]["status"] == "interrupted"
    assert "algorithmic" in found
    assert "ppl" not in found


def test_a_checkpoint_answers_prompts(scored: RunFile, tmp_path: Path) -> None:
    known = find_known(RunDirectory.of(scored).root)
    writer = Writer(known, "cpu")
    alone, together = writer.write(["Copy: 1 2 Answer:"]), writer.write(["Copy: 1 2 Answer:", "hello"])
    assert alone[0] == together[0]
    with pytest.raises(DataError, match="longer than the 4096 tokens"):
        writer.write(["x" * 5000])
    asked = tmp_path / "prompts.txt"
    asked.write_text("one\ntwo\n")
    options = argparse.Namespace(run=RunDirectory.of(scored).root, checkpoint="last", input=str(asked), device="cpu",
                                 output="json", steps=False, votes=None)  # fmt: skip
    assert [one["prompt"] for one in json.loads(predict(options))["answers"]] == ["one", "two"]


def test_a_run_that_was_not_scored_has_a_page_too(tmp_path: Path, folder: Path) -> None:
    run = run_of(tmp_path, "baseline", f"storage.data={folder}/data", "train.steps=2", "evaluate.every_steps=null")
    directory = RunDirectory.of(run)
    directory.root.mkdir(parents=True)
    directory.run_file.write_text(dump(run))
    train_alone(run)
    assert "Not evaluated yet" in write_report(directory).read_text()
    assert results_of(directory) is None
    assert checkpoint.newest(directory.checkpoints) is not None


def test_the_weights_are_exported_as_the_ladders_authors_have_them(scored: RunFile, tmp_path: Path) -> None:
    file = tmp_path / "final_model.pt"
    assert main(["export", str(RunDirectory.of(scored).run_file), str(file)]) == 0
    content = torch.load(file, weights_only=True)
    assert set(content) == {"model_state_dict", "config", "step"}
    assert content["step"] == 8
    assert content["config"]["variant"] == "latent"


def test_a_suite_that_is_none_and_suites_for_puzzles_are_refused(
    scored: RunFile, capsys: pytest.CaptureFixture[str], small_run: RunFile, alone: World
) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(RunDirectory.of(scored).run_file), "--suite", "algoritmic"])
    assert "there is no suite 'algoritmic'" in capsys.readouterr().err
    train_alone(small_run)
    with pytest.raises(SpecError, match="puzzles have no suites"):
        subject_of(small_run).score(small_run, RunDirectory.of(small_run), alone, "last", Part(suites=("ppl",)))


def test_a_model_that_cannot_read_an_item_is_refused_before_it_is_trained(folder: Path, alone: World) -> None:
    run = run_of(folder, "baseline", "model.context=128")
    with pytest.raises(SpecError, match=r"model\.context: 128 tokens are too few for parity length 64") as error:
        subject_of(run)(run, alone)
    assert "set model.context to" in str(error.value)


def test_perplexity_is_of_every_source_and_counts_the_bytes_it_predicts(scored: RunFile) -> None:
    inputs, labels, documents = np.full((4, 128), 5), np.full((4, 128), ord("a") + 4), np.zeros((4, 128))
    labels[2:] = ord("b") + 4  # another source
    labels[:, 100:] = 2  # ends cost bits, and are no bytes
    arrays = tuple(array.astype(np.int32) for array in (inputs, labels, documents))
    split = cast(LanguageSplit, SimpleNamespace(rows=lambda seq_len: arrays))
    writer = Writer(find_known(RunDirectory.of(scored).root), "cpu")
    found = perplexity.score(writer.model, writer.reader, split, 128, 256, 2)
    assert (found["tokens"], found["bytes"], found["words"]) == (256, 200, 2)
    alone = [perplexity.score(writer.model, writer.reader, cast(LanguageSplit, SimpleNamespace(
        rows=lambda seq_len, part=part: tuple(array[part] for array in arrays))), 128, 128, 2)["nll"]
        for part in (slice(0, 1), slice(2, 3))]  # fmt: skip
    assert found["nll"] == pytest.approx(sum(alone), rel=1e-5)


def test_what_was_drawn_twice_is_asked_once(folder: Path) -> None:
    section = run_of(folder, "baseline", "data.items=200").data
    assert isinstance(section, CurriculumData)
    asked = {one.condition.name: one.items for one in held_out(section, tasks=("parity",))}
    assert len(asked["length 8"]) == len(set(asked["length 8"])) < 60
    assert len(asked["length 64"]) == 200
