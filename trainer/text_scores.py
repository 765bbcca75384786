"""Score a language model: on a few held-out items during training, on whole suites at the end.

`results_<suite>.json` is written after every suite, `results_all.json` with all there are so far; so what was scored
before an interruption is there. A part that was asked for on the command line goes to `…-partial.json` of each.
"""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from trainer import data
from trainer.candidates import load_for_inference, on_every_machine
from trainer.checkpoint import Checkpoint
from trainer.data.algorithmic.grid import GRID_VERSION
from trainer.data.language import read_language
from trainer.data.store import read_metadata
from trainer.data.tokens import open_tokenizer
from trainer.dist import Stopped, StopSignal, World
from trainer.environment import environment
from trainer.evaluators import algorithmic, needle, perplexity, self_test
from trainer.evaluators.algorithmic import Asked, Reader, held_out
from trainer.evaluators.generate import Bounds
from trainer.evaluators.intervals import of_mean
from trainer.learner import Learner
from trainer.models import TrainableModel
from trainer.models.prepare import prepare
from trainer.models.text import TextModel
from trainer.progress import say
from trainer.report.pictures import write_pictures
from trainer.scope import Part
from trainer.state import make_model, total_steps
from trmkit.errors import SpecError
from trmkit.spec.base import section_hash
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.evaluate import SUITES
from trmkit.spec.ladder import LadderModel
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

WATCHED = 6
"""Items that can be watched while the model learns them."""
DEPTH_ITEMS = 2_000
"""Items, over all conditions, that are tried at other depths of recursion."""
LANGUAGE_ROWS = 16
"""Rows of held-out language in an evaluation during training."""


def sample(state: Learner, folder: Path, directory: RunDirectory, check: Callable[[], None]) -> dict[str, Any]:
    """Return the scores of the averaged weights on a bounded part of the items, as a line of log."""
    run, world = state.run, state.world
    section = _section(run)
    asked = held_out(section, run.evaluate.sample)
    options = run.evaluate.text
    with state.averaged() as model:
        reader = reader_of(run, model, folder, world, options.sample_new_tokens, check)
        found = algorithmic.score(reader, asked)
        line = _line(found)
        if section.alg_tokens - section.band < _tokens(state) or section.lexical_frac_phase1:
            split, rows = read_language(folder, "test"), _rows(run, world)
            most = LANGUAGE_ROWS * section.seq_len
            language = perplexity.score(model, reader, split, section.seq_len, most, rows)
            line["bits_per_byte"] = language["bits_per_byte"]
    if world.first:
        rows_shown = [
            {"set": "test", "puzzle": f"{one['task']} {one['condition']}", "question": shown["prompt"],
             "truth": shown["answer"], "prediction": shown["generated"], "exact": shown["right"]}
            for one in found["conditions"] for shown in one["examples"][:1]
        ]  # fmt: skip
        watched = {"step": state.step, "kind": "text", "rows": rows_shown[:WATCHED]}
        write_whole(directory.samples, json.dumps(watched))
        write_pictures(directory, {"kind": "eval", "step": state.step, **line})
    return line


def _line(found: dict[str, Any]) -> dict[str, Any]:
    line = {
        "count": found["items"],
        "exact_accuracy": found["overall_accuracy"],
        "accuracy": found["token_accuracy"],
        "parse_failures": found["parse_failures"],
        "missed_eos": found["missed_eos"],
    }
    where = {"score/iid": found["iid_accuracy"], "score/ood": found["ood_accuracy"]}
    tasks = {f"score/{task}": accuracy for task, accuracy in found["per_task_accuracy"].items()}
    return line | {name: value for name, value in {**where, **tasks}.items() if value is not None}


def evaluate(run: RunFile, directory: RunDirectory, world: World, which: str, part: Part) -> dict[str, Any]:
    """Score the `last` or the `best` checkpoint of `run`, write what was found, and return it.

    What the run file asks for goes to `eval.json`, a part asked for by `part` to `eval-partial.json`; every suite to a
    file of its own. CheckpointError: there is no such checkpoint. SpecError: there is no such task. Raises `Stopped`.
    """
    section, suites = _section(run), _suites(run, part)
    _refuse_unknown(section, part)
    found, _ = on_every_machine(directory, world, which, None)
    folder = data.build_together(run, world)
    model = make_model(run, read_metadata(folder), world.device)
    weights = load_for_inference(model, found)
    prepare(model, run.train)
    model.eval()
    asked = held_out(section, part.sample or run.evaluate.final_sample, part.tasks)
    with StopSignal().listening() as stop:
        reader = reader_of(run, model, folder, world, run.evaluate.text.max_new_tokens, lambda: stop.check(world))
        scoring = Scoring(
            run, directory, reader, model, folder, asked, _meta(run, world, found, reader, which), partial=bool(part)
        )
        scoring.all_of(suites)
    result = {
        "step": found.step,
        "total": total_steps(run, read_metadata(folder)),
        "checkpoint": which,
        "asked": section_hash(run.evaluate, run.data, version=run.seed)[:12],
        "weights": weights,
        "scope": scoring.scope(),
        "seconds": scoring.seconds,
        "sets": {"test": scoring.summary()},
        "grid": {"kind": "text", "height": 1, "width": section.seq_len},
        "examples": [],
        "gallery": [],
        "text": scoring.results,
    }
    if world.first:
        write_whole(directory.partial_evaluation if part else directory.evaluation, json.dumps(result))
        write_pictures(directory)
    return result


def reader_of(
    run: RunFile, model: TrainableModel, folder: Path, world: World, new_tokens: int, check: Callable[[], None]
) -> Reader:
    """Return what asks `model`, in batches no larger than those of training."""
    rows = _rows(run, world)
    bounds = Bounds(new_tokens, rows, rows * _section(run).seq_len)
    return Reader(cast(TextModel, model), open_tokenizer(folder), world, bounds, check)


def _rows(run: RunFile, world: World) -> int:
    """Return the rows that are evaluated at once on a process."""
    return run.evaluate.batch_size or max(1, run.train.batch_size // (world.size * run.train.accumulate))


def _section(run: RunFile) -> CurriculumData:
    assert isinstance(run.data, CurriculumData)
    return run.data


def _tokens(state: Learner) -> int:
    return int(state.step * state.run.train.batch_size * _section(state.run).seq_len)


def _suites(run: RunFile, part: Part) -> tuple[str, ...]:
    if "all" in part.suites:
        return SUITES
    return part.suites or tuple(run.evaluate.text.suites)


def _refuse_unknown(section: CurriculumData, part: Part) -> None:
    unknown = [task for task in part.tasks if task not in section.tasks]
    if unknown:
        raise SpecError(
            f"--tasks: this run has no task {', '.join(map(repr, unknown))}",
            next=f"its tasks are {', '.join(section.tasks)}",
        )


def refuse_short_context(run: RunFile, folder: Path) -> None:
    """SpecError: the model cannot read an item that it will be asked; said before it is trained, not after."""
    assert isinstance(run.model, LadderModel)
    tokenizer, context = open_tokenizer(folder), run.model.longest
    for one in held_out(_section(run)):
        longest = max(len(tokenizer.encode(item.prompt)) for item in one.items) + 1
        enough = longest + run.evaluate.text.max_new_tokens
        if longest >= context:
            raise SpecError(
                f"model.context: {context} tokens are too few for {one.condition.task} {one.condition.name}, which asks"
                f" with up to {longest} and is to be answered",
                next=f"set model.context to {enough} or more, or leave the task out",
            )


def _meta(run: RunFile, world: World, found: Checkpoint, reader: Reader, which: str) -> dict[str, Any]:
    """Return what every file of results says of where its numbers come from."""
    here = environment(world)
    network = cast(TrainableModel, reader.model)
    return {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": here["commit"],
        "version": here["version"],
        "hostname": socket.gethostname(),
        "platform": here["platform"],
        "python": here["python"],
        "torch": here["packages"]["torch"],
        "cuda": torch.version.cuda,
        "device": here["device"],
        "checkpoint": str(found.path),
        "which": which,
        "step": found.step,
        "tokenizer": reader.tokenizer.name,
        "model": {
            "name": run.model.title,
            "section": run.model.model_dump(mode="json"),
            "context": reader.model.context,
            "rounds": reader.model.rounds,
            "parameters": sum(p.numel() for p in network.parameters()),
        },
        "seed": run.seed,
        "items_seed": _section(run).items_seed,
        "grid_version": GRID_VERSION,
        "decoding": {"strategy": "greedy", "temperature": 0, "max_new_tokens": reader.bounds.new_tokens},
    }


@dataclass
class Scoring:
    """One evaluation at the end: what is scored, and what was found so far."""

    run: RunFile
    directory: RunDirectory
    reader: Reader
    model: TrainableModel
    folder: Path
    asked: list[Asked]
    meta: dict[str, Any]
    partial: bool
    """Whether it is a part of what the run file asks for, which must not take the place of the whole."""
    results: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def all_of(self, suites: tuple[str, ...]) -> None:
        """Score the `suites`, one after the other; what is found is written after each, and when it is interrupted."""
        run = self.run
        kinds: dict[str, Callable[[], dict[str, Any]]] = {
            "algorithmic": lambda: algorithmic.score(self.reader, self.asked),
            "longctx": lambda: needle.score(self.reader, run.evaluate.text, _section(run).items_seed),
            "ppl": self._perplexity,
            "depth": self._depth,
            "self_test": lambda: self_test.score(self.reader, self.asked, run.model.forward_dtype == "bfloat16"),
        }
        started = time.monotonic()
        try:
            for name in suites:
                before = time.monotonic()
                self.results[name] = kinds[name]()
                self.results[name]["seconds"] = time.monotonic() - before
                self.seconds = time.monotonic() - started
                self._write("complete" if name == suites[-1] else "running", name)
                self._say(name)
        except Stopped:
            self._write("interrupted")
            raise

    def _perplexity(self) -> dict[str, Any]:
        options, section = self.run.evaluate.text, _section(self.run)
        split = read_language(self.folder, "test")
        rows = _rows(self.run, self.reader.world)
        return perplexity.score(self.model, self.reader, split, section.seq_len, options.ppl_tokens, rows)

    def _depth(self) -> dict[str, Any]:
        tasks = [one.condition.task for one in self.asked]
        fewer = held_out(_section(self.run), DEPTH_ITEMS, tuple(dict.fromkeys(tasks)))
        return algorithmic.by_rounds(self.reader, fewer, self.run.evaluate.text.rounds)

    def _write(self, status: str, name: str = "") -> None:
        if not self.reader.world.first:
            return
        about = {**self.meta, "status": status}
        if name:
            one = {"meta": {**about, "suite": name, "status": "complete"}, name: self.results[name]}
            write_whole(self._file(name), json.dumps(one, indent=1))
        everything = {"meta": {**about, "suite": "all"}, **self.results}
        write_whole(self._file("all"), json.dumps(everything, indent=1))

    def _file(self, name: str) -> Path:
        file = self.directory.results(name)
        return file.with_stem(f"{file.stem}-partial") if self.partial else file

    def _say(self, name: str) -> None:
        if self.reader.world.first:
            say(f"{name}: {_in_words(name, self.results[name])}")

    def scope(self) -> dict[str, Any]:
        """Return which of the items were scored."""
        section = _section(self.run)
        return {
            "unit": "items",
            "scored": sum(len(one.items) for one in self.asked) if "algorithmic" in self.results else 0,
            "total": sum(len(one.items) for one in held_out(section)),
        }

    def summary(self) -> dict[str, Any]:
        """Return the scores under the names that those of puzzles have, for tables and metrics."""
        found = self.results.get("algorithmic")
        if found is None:
            return {"count": 0}
        accuracies = np.array([one["accuracy"] for one in found["conditions"]], np.float64)
        names = {"iid": found["iid_accuracy"], "ood": found["ood_accuracy"], **found["per_task_accuracy"]}
        names["needle"] = (self.results.get("longctx") or {}).get("auc")
        return {
            "count": found["items"],
            "exact_accuracy": found["overall_accuracy"],
            "accuracy": found["token_accuracy"],
            "interval": {**of_mean(accuracies), "method": "bootstrap over conditions"},
            "suites": {"intervals": {}, **{name: value for name, value in names.items() if value is not None}},
        }


def _in_words(name: str, found: dict[str, Any]) -> str:
    if "skipped" in found:
        return f"skipped: {found['skipped']}"

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    if name == "algorithmic":
        inside, outside = share(found["iid_accuracy"]), share(found["ood_accuracy"])
        return f"{found['items']} items, right in distribution {inside}, out of it {outside}"
    if name == "longctx":
        return f"needle found {share(found['auc'])} of times"
    if name == "ppl":
        return f"perplexity {found['perplexity']:.4g} a token, {found['bits_per_byte']:.4f} bits a byte"
    if name == "depth":
        return ", ".join(f"{one['rounds']} rounds {share(one['overall_accuracy'])}" for one in found["rounds"])
    return "passed" if found["passed"] else "FAILED"


def results_of(directory: RunDirectory) -> dict[str, Any] | None:
    """Return all results of a run so far; None: nothing was scored, or the file is damaged."""
    with suppress(OSError, ValueError):
        content = json.loads(directory.results("all").read_bytes())
        return content if isinstance(content, dict) else None
    return None
