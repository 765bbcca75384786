"""How fast ARC answers become votes, as a ratio to a plain rendering of the same rule, grid by grid.

    python benchmarks/voting.py [--tasks 400] [--variants 1000] [--plain-tasks 20] [--rounds 2]

Made-up predictions for so many tasks with so many variants each: some right, some wrong in one cell, some with garbage
outside the grid. One core, CPU time, everything included: reading the names of the variants, cropping, undoing the
variant, hashing, ranking, pass@k, submission. Both sides must find the same numbers, or the script fails.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.augment import augment, undo, variant_names
from trainer.data.grid import UNCHANGED, decode, encode
from trainer.data.store import Metadata, Split
from trainer.evaluators import Judged, Outcome
from trainer.evaluators.arc_vote import ArcVote
from trmkit.spec.evaluate import EvaluateSection

OPTIONS = EvaluateSection(examples=0)
BATCH = 768
GOALS = "12x, and 15x if it can be; 500,000 predictions a second"


def main() -> None:
    """Print predictions per second of both, and the ratio."""
    from common import cpu_seconds, record, table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--plain-tasks", type=int, default=20, help="tasks that the plain rendering is timed on")
    parser.add_argument("--rounds", type=int, default=2, help="rounds, of which the fastest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {}
        few, many = (made_up(Path(folder), n, options.variants) for n in (options.plain_tasks, options.tasks))

        def plain() -> None:
            found["plain"] = plain_vote(*few)

        def ours(name: str, case: "Case") -> None:
            found[name] = voted(*case)

        ours("warm-up", made_up(Path(folder), 1, 2))
        seconds = {"plain": float("inf"), "few": float("inf"), "many": float("inf")}
        for _ in range(options.rounds):  # one after the other, so that a slow minute of the machine meets all
            seconds["plain"] = min(seconds["plain"], cpu_seconds(plain))
            seconds["few"] = min(seconds["few"], cpu_seconds(lambda: ours("few", few)))
            seconds["many"] = min(seconds["many"], cpu_seconds(lambda: ours("many", many)))
        if found["plain"] != numbers(found["few"]):
            raise SystemExit("the plain rendering finds something else")
        rates = {"plain": rows_of(few) / seconds["plain"], "few": rows_of(few) / seconds["few"]}
        rates["many"] = rows_of(many) / seconds["many"]
        print(f"votes of {rows_of(few):,} and {rows_of(many):,} predictions; goals: {GOALS}")
        names = {"plain": f"plain, {options.plain_tasks} tasks", "few": f"here, {options.plain_tasks} tasks"}
        names["many"] = f"here, {options.tasks} tasks"
        rows = [(names[key], f"{rate:,.0f}", f"{rate / rates['plain']:.1f}x") for key, rate in rates.items()]
        table(("variant", "predictions/s", "to plain"), rows)
        record("voting", "a prediction", [1 / rates["many"]], [1 / rates["plain"]], must=12, stretch=15)


Case = tuple[Judged, npt.NDArray[Any], npt.NDArray[np.float32]]
"""What is scored, the predicted cells [n, L], and the q-head's logits [n]."""
Passed = tuple[dict[str, float], dict[str, list[dict[str, Any]]]]
"""pass@k by k, and the submission."""


def rows_of(case: Case) -> int:
    return len(case[1])


def vote(judged: Judged, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32]) -> Passed:
    """Return pass@k and the submission as the project finds them."""
    return numbers(voted(judged, answers, q_halt))


def numbers(outcome: Outcome) -> Passed:
    return outcome.scores["voting"]["pass_at"], json.loads(outcome.files["submission.json"])


def voted(judged: Judged, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32]) -> Outcome:
    """Return what the evaluator makes of all the predictions."""
    evaluator = ArcVote(judged)
    for start in range(0, len(judged.rows), BATCH):
        part = slice(start, start + BATCH)
        chosen = np.zeros(len(judged.rows[part]), np.int64)
        evaluator.add(judged.rows[part], answers[part, None], q_halt[part, None], chosen)
    return evaluator.outcome(evaluator.merged([evaluator.state()]))


def plain_vote(judged: Judged, answers: npt.NDArray[Any], q_halt: npt.NDArray[np.float32]) -> Passed:
    """Return the same, one prediction after the other, in dictionaries."""
    split = judged.split
    ballots: dict[str, dict[str, dict[str, list[Any]]]] = {}
    for row, answer, logit in zip(judged.rows.tolist(), answers, q_halt.tolist(), strict=True):
        identifier = int(split.row_identifiers[row])
        if identifier == split.metadata.blank_identifier_id:
            continue
        task, back = undo(judged.names[identifier])
        question, grid = (back(decode(np.asarray(tokens))) for tokens in (split.inputs[row], answer))
        box = ballots.setdefault(task, {}).setdefault(name_of(question), {})
        candidate = box.setdefault(name_of(grid), [grid, 0, 0.0])
        candidate[1] += 1
        candidate[2] += 1 / (1 + np.exp(-np.float64(logit)))
    puzzles = json.loads((judged.folder / "test_puzzles.json").read_text())
    pass_at: dict[str, list[float]] = {str(k): [] for k in judged.options.pass_ks}
    submission: dict[str, list[dict[str, Any]]] = {}
    for task, puzzle in puzzles.items():
        if task not in ballots:
            continue
        places, submission[task] = [], []
        for pair in puzzle["test"]:
            box = ballots[task].get(name_of(np.array(pair["input"], np.uint8)), {})
            best = sorted(box.items(), key=lambda item: (item[1][1], item[1][2] / item[1][1]), reverse=True)
            truth = name_of(np.array(pair["output"], np.uint8))
            places.append(next((place for place, (name, _) in enumerate(best) if name == truth), None))
            grids = [candidate[0].tolist() or [[0]] for _, candidate in best[: judged.options.attempts]] or [[[0]]]
            grids += grids[-1:] * (judged.options.attempts - len(grids))
            submission[task].append({f"attempt_{n}": grid for n, grid in enumerate(grids, 1)})
        for k, solved in pass_at.items():
            solved.append(sum(place is not None and place < int(k) for place in places) / len(places))
    return {k: float(np.mean(solved)) for k, solved in pass_at.items()}, submission


def name_of(grid: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(bytes(grid.shape) + grid.tobytes()).hexdigest()


def made_up(folder: Path, tasks: int, variants: int) -> Case:
    """Make tasks with grids of ARC's sizes on ARC's canvas, and predictions of a model that is often right."""
    draw = np.random.default_rng(0)
    puzzles, names, inputs, answers = {}, ["<blank>"], [], []
    for task in range(tasks):
        name = f"{task:08x}"
        question, truth = (draw.integers(0, 10, draw.integers(3, 21, 2), dtype=np.uint8) for _ in range(2))
        puzzles[name] = {"train": [], "test": [{"input": question.tolist(), "output": truth.tolist()}]}
        turns = draw.integers(0, 8, variants)
        colours = np.zeros((variants, 10), np.uint8)
        colours[:, 1:] = draw.permuted(np.broadcast_to(UNCHANGED[1:], (variants, 9)), axis=1)
        turns[0], colours[0] = 0, UNCHANGED
        names += [name, *variant_names(name, turns[1:], colours[1:])]
        for turn, table in zip(turns, colours, strict=True):
            inputs.append(encode(augment(question, turn, table)))
            answers.append(guess(draw, truth, turn, table))
    target = folder / f"{tasks}"
    target.mkdir(exist_ok=True)
    (target / "test_puzzles.json").write_text(json.dumps(puzzles))
    rows = len(inputs)
    metadata = Metadata(0, 0, 0, 12, 900, rows + 1, tasks, 1.0, rows, ("all",))
    places, groups = np.arange(rows + 1, dtype=np.int32), np.arange(0, rows + 1, variants, dtype=np.int32)
    tokens = np.stack(inputs)
    split = Split(metadata, tokens, tokens, np.arange(1, rows + 1, dtype=np.int32), places, groups)
    judged = Judged(target, split, np.arange(rows), names, OPTIONS)
    return judged, np.stack(answers), draw.normal(size=rows).astype(np.float32)


def guess(draw: np.random.Generator, truth: npt.NDArray[np.uint8], turn: int, table: npt.NDArray[np.uint8]) -> Any:
    """Return tokens of the truth, of a grid with one wrong cell, or of noise, with garbage outside now and then."""
    kind = draw.integers(0, 5)
    grid = truth.copy()
    if kind == 1:
        grid[0, 0] = (grid[0, 0] + 1) % 10
    if kind > 2:
        grid.ravel()[draw.integers(0, grid.size, kind)] = draw.integers(0, 10, kind)
    tokens = encode(augment(grid, turn, table))
    if kind == 2:
        tokens[-30:] = draw.integers(0, 12, 30)
    return tokens


if __name__ == "__main__":
    main()
