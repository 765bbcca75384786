"""The names of everything a run leaves behind, the same on a disk and in a bucket."""

import re
from dataclasses import dataclass
from pathlib import Path

from trmkit.spec.base import section_hash
from trmkit.spec.run import RunFile
from trmkit.spec.train import Checkpoints, Logging

INDEX = "_index"
"""Folder of a store with one small object for each run, whose name says how the run is doing."""
DATA = "_data"
"""Folder of a store with the published data sets."""
FEATURES = "_features"
"""Folder of a store with what readers made of tasks as texts."""
PROBES = "_probe"
"""Folder of a store in which is tried what it can do."""
SWEEPS = "_sweeps"
"""Folder of a store with the pages that put the runs of a sweep side by side. No run can have these five names."""
CHECKPOINTS = "checkpoints"
SCORES = "scores"
RUN_ID = re.compile("[0-9a-f]{8}")
STEP = re.compile(r"step_(\d{8,12})(?:-([0-9a-f]{12}))?")
"""Name of a checkpoint. In a store the first digits of its manifest's SHA-256 follow: what has a name never changes."""
RUN_FILES = (
    "run.yaml", "environment.json", "metrics.jsonl", "data.json", "identifiers.json", "tokens.json", "tokenizer.json",
    "started_from.json", "eval.json", "eval-partial.json", "results_algorithmic.json", "results_longctx.json",
    "results_ppl.json", "results_depth.json", "results_self_test.json", "results_all.json", "metrics.json",
    "ensemble.json", "summary.json", "loss.png", "accuracy.png", "submission.json", "submission-partial.json",
    "report.html",
)  # fmt: skip
"""Files of a run that are published as they change, besides its checkpoints."""
SUMMARY = "run.json"
"""In a store: state of the run, and size and SHA-256 of its published files."""


def run_id(run: RunFile) -> str:
    """Name the experiment by its content: the same model, data, training and seed give the same 8 hex digits.

    How often training saves and logs does not change what is trained, so it does not change the name.
    """
    compiled = False if run.train.compile == "auto" else run.train.compile  # what was said of it before there was auto
    training = run.train.model_copy(update={"checkpoint": Checkpoints(), "log": Logging(), "compile": compiled})
    read = [run.features] if run.features is not None else []
    return section_hash(run.model, run.data, training, *read, version=run.seed)[:8]


def store_key(run: RunFile, directory: "RunDirectory") -> str:
    """Return where a run lives in a store: `<name>/<run id>`. A run that went on keeps the id it began with."""
    name = directory.root.absolute().name
    return f"{run.name}/{name if RUN_ID.fullmatch(name) else run_id(run)}"


@dataclass(frozen=True)
class RunDirectory:
    """A run on a disk."""

    root: Path

    @classmethod
    def of(cls, run: RunFile) -> "RunDirectory":
        """Return where `run` lives: `<storage.path>/<name>/<run id>`."""
        return cls(Path(run.storage.path) / run.name / run_id(run))

    @property
    def run_file(self) -> Path:
        """The resolved run file."""
        return self.root / "run.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON object per line: the numbers of training, and of evaluation during training."""
        return self.root / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """A few test rows and what the model made of them at the last evaluation during training, for who watches."""
        return self.root / "samples.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, `step_<8 digits>` each, and `best.json`."""
        return self.root / CHECKPOINTS

    @property
    def environment(self) -> Path:
        """Versions, device and code that produced the run."""
        return self.root / "environment.json"

    @property
    def identifiers(self) -> Path:
        """The names of the puzzle identifiers, where puzzles have any: which row of the table is whose."""
        return self.root / "identifiers.json"

    @property
    def data_manifest(self) -> Path:
        """What the run was trained on: the data set's manifest, and the sizes of its rows."""
        return self.root / "data.json"

    @property
    def started_from(self) -> Path:
        """Where the first weights came from, of a run that did not start from random ones."""
        return self.root / "started_from.json"

    @property
    def evaluation(self) -> Path:
        """The scores at the end, and rows to look at."""
        return self.root / "eval.json"

    @property
    def scores(self) -> Path:
        """Folder of what was found of each checkpoint by who followed the training, `<update>.json`."""
        return self.root / SCORES

    @property
    def followed(self) -> Path:
        """Folder of the checkpoints that were brought to be scored, where training is on another machine."""
        return self.root / "followed"

    @property
    def partial_evaluation(self) -> Path:
        """The scores of a part of the test set, where `evaluation` has those of all of it."""
        return self.root / "eval-partial.json"

    @property
    def ensemble(self) -> Path:
        """The scores of this run and others that voted together."""
        return self.root / "ensemble.json"

    def results(self, suite: str) -> Path:
        """Return the file with the results of a suite that a language model was scored by, or of `all`."""
        return self.root / f"results_{suite}.json"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.root / "report.html"
