"""The run file as a whole."""

from typing import Annotated

from pydantic import Field, model_validator

from trmkit.spec.base import NonNegativeInt, Section
from trmkit.spec.cluster import ClusterSection
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.data import ArcData, DataSection
from trmkit.spec.evaluate import EvaluateSection
from trmkit.spec.features import FeaturesSection
from trmkit.spec.ladder import LadderModel
from trmkit.spec.model import ModelSection, RecursiveCore
from trmkit.spec.storage import StorageSection
from trmkit.spec.train import TrainSection


class RunFile(Section):
    """One experiment: a model, its data, its training and evaluation, where it is kept, and the cluster it may use."""

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$")]
    """Name of the experiment: lower-case letters, digits and dashes, at most 50, starting with a letter."""

    model: ModelSection
    """Which network, and its sizes."""

    data: DataSection
    """Which puzzles, and how they are made into arrays."""

    features: FeaturesSection | None = None
    """How the text of each task is read, of a model that is conditioned on it; null: no text is read."""

    train: TrainSection
    """How the model is trained."""

    evaluate: EvaluateSection = Field(default={}, validate_default=True)
    """When and how the model is scored."""

    storage: StorageSection = Field(default={}, validate_default=True)
    """Where runs and built data sets live."""

    cluster: ClusterSection = Field(default={}, validate_default=True)
    """What the run asks of a cluster; a run on this machine ignores it."""

    seed: NonNegativeInt = 0
    """Seed of the initial weights, of the order of the data and of every draw of training."""

    @model_validator(mode="after")
    def _model_reads_the_data(self) -> "RunFile":
        model, data = self.model, self.data
        if isinstance(model, LadderModel) != isinstance(data, CurriculumData):
            wanted = "curriculum" if isinstance(model, LadderModel) else "one of puzzles, as sudoku or arc"
            raise ValueError(f"data.source: the family {model.family} cannot read {data.source}; it needs {wanted}")
        if isinstance(model, LadderModel) and isinstance(data, CurriculumData) and data.seq_len > model.longest:
            raise ValueError(
                f"data.seq_len: rows of {data.seq_len:,} tokens are longer than model.context {model.longest:,};"
                " raise that, or lower this"
            )
        if self.train.tokens is not None and not isinstance(data, CurriculumData):
            raise ValueError(f"train.tokens: {data.source} has puzzles, not tokens; give train.steps or train.epochs")
        if self.train.epochs is not None and isinstance(data, CurriculumData):
            raise ValueError("train.epochs: generated rows have no epochs; give train.tokens or train.steps")
        return self

    @model_validator(mode="after")
    def _text_is_read(self) -> "RunFile":
        model, features = self.model, self.features
        if features is None and self.evaluate.self_correction:
            raise ValueError("evaluate.self_correction: only a model that reads text can be told what is wrong")
        if features is None:
            if model.text_width is not None:
                raise ValueError("features: the model is conditioned on text; say who reads it, as {reader: hash}")
            return self
        if model.text_width is None:
            raise ValueError(f"features: {model.title} is not conditioned on text; leave the section out")
        if self.data.source not in ("arc", "folder", "mixed"):
            raise ValueError(f"features: only ARC tasks have a text, {self.data.source} has none")
        if model.text_width != features.width:
            raise ValueError(
                f"features.width: vectors of {features.width} numbers do not fit model.text_hidden_size"
                f" {model.text_width}; make them equal"
            )
        if model.text_vectors != features.vectors:
            raise ValueError(
                f"features.pooling: {features.pooling} keeps {features.vectors} of each text, model.text_vectors is"
                f" {model.text_vectors}; make them equal"
            )
        return self

    @model_validator(mode="after")
    def _memory_is_read(self) -> "RunFile":
        model, data = self.model, self.data
        if not isinstance(model, LadderModel) or not isinstance(data, CurriculumData):
            return self
        if model.variant == "ssm_mem" and model.segment >= data.seq_len:
            raise ValueError(
                f"model.segment: what {model.segment:,} tokens leave in memory is read by those after them, and rows of"
                f" {data.seq_len:,} tokens have none, so that it learns nothing; lower model.segment or raise"
                " data.seq_len"
            )
        return self

    @model_validator(mode="after")
    def _recursion_is_there(self) -> "RunFile":
        model, recursion = self.model, self.train.recursion
        if recursion is None:
            return self
        if not isinstance(model, RecursiveCore):
            raise ValueError(f"train.recursion: {model.title} has no cycles to change; leave it out")
        if recursion.targets == "interpolated" and model.halt_max_steps == 1:
            raise ValueError(
                "train.recursion.targets: with model.halt_max_steps 1 the only target is the answer; use more steps, or"
                " targets: answer"
            )
        if recursion.targets == "interpolated" and not model.no_ACT_continue:
            raise ValueError(
                "train.recursion.targets: rows take all their steps, so q_continue has nothing to learn from; use"
                " model.no_ACT_continue: true"
            )
        return self

    @model_validator(mode="after")
    def _windows_are_seen(self) -> "RunFile":
        model, data = self.model, self.data
        sees = isinstance(model, RecursiveCore) and not model.mlp_t
        if isinstance(data, ArcData) and data.window == "fitted" and not sees:
            raise ValueError(
                f"data.window: {model.title} works on all of a canvas, in which a cell has its place by its number; use"
                " window: full, or the family trm or hybrid with model.mlp_t: false"
            )
        return self

    @model_validator(mode="after")
    def _something_is_left_to_learn(self) -> "RunFile":
        if self.train.freeze.trunk_steps and not self.model.puzzle_emb_ndim:
            raise ValueError("train.freeze.trunk_steps: there is no puzzle table to learn; model.puzzle_emb_ndim is 0")
        return self

    @model_validator(mode="after")
    def _weights_can_be_shared(self) -> "RunFile":
        if self.train.parallel == "fsdp" and self.model.puzzle_emb_ndim:
            raise ValueError(
                "train.parallel: fsdp cannot share a puzzle table, which is trained row by row; use replicate, or"
                " model.puzzle_emb_ndim: 0"
            )
        return self

    @model_validator(mode="after")
    def _batch_is_shared_evenly(self) -> "RunFile":
        processes = self.cluster.nodes * max(1, self.cluster.gpus_per_node)
        if self.train.batch_size % (processes * self.train.accumulate):
            raise ValueError(
                f"train.batch_size: {self.train.batch_size} is not divided by {processes} processes"
                f" (cluster.nodes x cluster.gpus_per_node) x train.accumulate {self.train.accumulate}"
            )
        return self
