"""What was found of single checkpoints by somebody who follows the training, as files in the run's folder `scores`."""

import json
from collections.abc import Collection
from typing import Any

from trainer.metrics import read_lines, single
from trainer.progress import say
from trmkit.spec.run import RunFile
from trmkit.store import scores
from trmkit.store.layout import RunDirectory
from trmkit.store.local import write_whole

Best = dict[str, Any]
"""The best checkpoint: `{step, metric, value}`."""


class Scores:
    """What was found of each checkpoint of a run."""

    def __init__(self, run: RunFile, directory: RunDirectory, until: int | None = None) -> None:
        """Look at a run; what its log already has is not new. Lines after the update `until` do not count."""
        self._run, self._directory = run, directory
        lines = [line["step"] for line in read_lines(directory.metrics) if line["kind"] == "eval"]
        self.taken = {step for step in lines if until is None or step <= until}
        """Updates whose scores are in the log, or were taken to be put there."""

    def leave(self, step: int, found: dict[str, Any]) -> None:
        """Leave what was found of the checkpoint of `step`, whole or not at all."""
        write_whole(self._directory.scores / f"{step}.json", json.dumps(found))

    def steps(self) -> set[int]:
        """Return the updates whose checkpoints are scored."""
        return scores.here_of(self._directory.scores)

    def take(self, until: int) -> list[tuple[int, dict[str, Any]]]:
        """Return what is new, of updates up to `until`, oldest first; the next call does not return it again."""
        new = sorted(step for step in self.steps() - self.taken if step <= until)
        self.taken.update(new)
        return [(step, found) for step in new if (found := self._found(step)) is not None]

    def waiting(self, saved: Collection[int]) -> list[int]:
        """Return those of the `saved` steps that are to be scored yet, oldest first."""
        return sorted({step for step in saved if is_due(self._run, step)} - self.steps())

    def awaited(self, saved: Collection[int]) -> set[int]:
        """Return those of the `saved` steps that are kept till their scores are taken up."""
        return scores.awaited([step for step in saved if is_due(self._run, step)], self.taken)

    def better(self, best: Best | None, step: int, found: dict[str, Any]) -> Best:
        """Return the best checkpoint, once that of `step` is known."""
        metric = self._run.evaluate.best_metric
        value = single(found)[metric]
        if best is None or best["metric"] != metric or value > best["value"]:
            return {"step": step, "metric": metric, "value": value}
        return best

    def best(self, known: Best | None, among: Collection[int]) -> Best | None:
        """Return the best checkpoint `among` those of some updates, where `known` was the best before these scores."""
        scored = self.steps()
        best = None if known is not None and known["step"] in scored else known
        for step in sorted(scored & set(among)):
            found = self._found(step)
            if found is not None:
                best = self.better(best, step, found)
        return best if best is not None else known

    def _found(self, step: int) -> dict[str, Any] | None:
        """Return what was found of a checkpoint; None, and say it, where the file holds no such thing."""
        path = self._directory.scores / f"{step}.json"
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
            float(found[self._run.evaluate.best_metric])
        except (OSError, ValueError, TypeError, LookupError) as error:
            say(f"not used: {path} ({type(error).__name__})")
            return None
        return found


def is_due(run: RunFile, step: int) -> bool:
    """Say whether the checkpoint of an update is one that is scored while the run trains."""
    return bool(run.evaluate.every_steps) and step % (run.evaluate.every_steps or 1) == 0
