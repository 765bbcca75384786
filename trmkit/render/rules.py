"""What a schema cannot say of a TrmRun, in CEL: the rules that an API server asks before it takes one.

They are those validators of the sections (`trmkit/spec`) that need no loop over what has no bound; the others become a
condition of the TrmRun. In a rule `{key}` is a key's value or, where it is not given, its default.
"""

import json
import re
from typing import Any

from trmkit.render.structural import Rule
from trmkit.spec.base import Section
from trmkit.spec.cluster import ClusterSection, Toleration
from trmkit.spec.curriculum import CurriculumData
from trmkit.spec.data import ArcData, MazeGeneratedData, MixedData, SudokuGeneratedData
from trmkit.spec.evaluate import EvaluateSection
from trmkit.spec.features import MISSING, FeaturesSection
from trmkit.spec.ladder import LadderModel
from trmkit.spec.model import HybridModel, TrmModel
from trmkit.spec.recursion import DepthPhase
from trmkit.spec.run import RunFile
from trmkit.spec.storage import StorageSection
from trmkit.spec.train import TrainSection
from trmkit.spec.tree import children
from trmkit.spec.trmrun import StopWhen, TrmRunSpec

LONGEST = {
    "conditioning": 5,
    "collections": 64,
    "parts": 32,
    "tolerations": 64,
    "volumes": 64,
    "secret_env": 256,
    "depth": 64,
}
"""Most entries of lists that rules are about, or are in."""
WIDEST = {"collections": 4096, "test": 4096}
"""Most characters of texts that rules compare."""

READS_TEXT = (
    "self.model.family == 'hybrid' && ['text_add', 'text_prefix', 'text_xattn'].exists(x, x in {model.conditioning})"
)
CONTEXT = (
    "(has(self.model.context) ? self.model.context : {model.variant} == 'nano_absolute' ? 1024"
    " : {model.size} == '1B-16k' ? 16384 : 4096)"
)
PUZZLE_TABLE = (
    "(self.model.family == 'ladder' ? 0 : has(self.model.puzzle_emb_ndim) ? self.model.puzzle_emb_ndim"
    " : self.model.family == 'trm' ? 512 : self.model.family == 'deep_recursion' ? 64 : 0)"
)
PROCESSES = "({cluster.nodes} * ({cluster.gpus_per_node} > 1 ? {cluster.gpus_per_node} : 1))"
VECTORS = (
    "({features.pooling} == 'last_k' ? {features.k} : {features.pooling} == 'sequence' ? {features.max_length} : 1)"
)
CORE = (
    ("{hidden_size} % {num_heads} == 0", "num_heads does not divide hidden_size", "num_heads"),
    ("{pos_encodings} != 'rope' || {mlp_t} || ({hidden_size} / {num_heads}) % 2 == 0",
     "rotary positions need an even hidden_size / num_heads", "num_heads"),
    ("({puzzle_emb_ndim} == 0) == ({puzzle_emb_len} == 0)",
     "puzzle_emb_len: 0 goes together with puzzle_emb_ndim: 0, and only with it", "puzzle_emb_len"),
    ("{puzzle_emb_ndim} <= {puzzle_emb_len} * {hidden_size}",
     "puzzle_emb_ndim does not fit in puzzle_emb_len x hidden_size numbers", "puzzle_emb_ndim"),
)  # fmt: skip
"""Of both families whose states a small network of blocks improves."""
RULES: dict[type[Section], tuple[tuple[str, str, str], ...]] = {
    TrmModel: CORE,
    HybridModel: (
        *CORE,
        ("!('none' in {conditioning}) || size({conditioning}) == 1", "none goes with nothing else", "conditioning"),
        ("('puzzle_emb' in {conditioning}) == ({puzzle_emb_ndim} > 0)",
         "a vector for each puzzle goes together with puzzle_emb in conditioning, and only with it", "puzzle_emb_ndim"),
        ("!('text_xattn' in {conditioning}) || !{mlp_t}", "text_xattn attends, so it needs heads; use mlp_t: false",
         "mlp_t"),
    ),
    LadderModel: (
        ("{size} != '1B-16k' || !({variant} in ['ssm', 'ssm_mem'])",
         "1B-16k has grouped-query attention, and ssm and ssm_mem have none to group; use 1B with context: 16384",
         "size"),
        ("{variant} != 'nano_absolute' || {size} in ['pico', 'nano']",
         "the control nano_absolute is of the size nano (pico in tests)", "size"),
        ("{variant} != 'nano_absolute' || !has(self.context) || self.context <= 1024",
         "nano_absolute has vectors for 1,024 positions, not for more", "context"),
        ("{min_K} <= {max_K}", "min_K rounds at least are more than max_K at most", "min_K"),
        ("!has(self.position_range) || {positions} == 'randomized'", "goes together with positions: randomized",
         "position_range"),
        ("!has(self.position_range) || self.position_range >= " + CONTEXT.replace("model.", ""),
         "fewer positions than context", "position_range"),
    ),
    SudokuGeneratedData: (("{side} in [4, 6, 9]", "boxes are of 4, 6 or 9 cells", "side"),),
    MazeGeneratedData: (
        ("{side} >= 3 && {side} <= 30", "a maze has from 3 to 30 cells per row", "side"),
        ("!has(self.min_path) || self.min_path <= (2 * {side} * {side} + 3) / 3",
         "more cells than any shortest path in a maze of this side has", "min_path"),
    ),
    ArcData: (
        ("{test} in {collections}", "test is not one of collections", "test"),
        ("{layout} == 'edges' || {canvas} > 2", "the markers of corners leave no room for a grid", "canvas"),
    ),
    MixedData: (
        ("size(self.parts) >= 2", "give two sources or more; a single one needs no mixing", "parts"),
        ("self.parts.all(part, !has(part.augment) || part.augment == 'stored')",
         "the rows of a mix are stored, so no part can have augment: on_the_fly", "parts"),
        ("self.parts.all(part, !has(part.window) || part.window == 'full')",
         "a mix is worked on whole, so no part can have window: fitted", "parts"),
    ),
    CurriculumData: (
        ("!has(self.mix_band_tokens) || self.mix_band_tokens <= {alg_tokens}", "more than alg_tokens",
         "mix_band_tokens"),
        ("{persistent_alg_frac} + {needle_frac} <= 1.0", "together with persistent_alg_frac it is more than 1",
         "needle_frac"),
    ),
    FeaturesSection: (
        ("!({reader} in [" + ", ".join(f"'{name}'" for name in MISSING) + "])",
         "there is no such reader; use " + ", ".join(MISSING.values()), "reader"),
        ("{reader} != 'hash' || {quantize} == 'none'", "the reader hash has no weights", "quantize"),
        ("{pooling} != 'last_k' || {k} <= {max_length}", "more than the tokens there are (max_length)", "k"),
    ),
    TrainSection: (
        ("(has(self.steps) ? 1 : 0) + (has(self.tokens) ? 1 : 0) + (has(self.epochs) ? 1 : 0) == 1",
         "give one of steps, epochs and tokens", "steps"),
        ("{batch_size} % {accumulate} == 0", "accumulate does not divide batch_size", "accumulate"),
        ("{optimizer} != 'muon' || {parallel} != 'fsdp'",
         "muon works on whole matrices, fsdp shares them; use parallel: replicate", "optimizer"),
    ),
    DepthPhase: (
        ("!has(self.H_cycles_up_to) || self.H_cycles_up_to >= self.H_cycles", "less than H_cycles", "H_cycles_up_to"),
    ),
    EvaluateSection: (
        ("!{settled} || has(self.early_exit)",
         "says when a row may stop early, and none may; give early_exit, as 0, too", "settled"),
        ("{mode} != 'job' || has(self.every_steps)",
         "job scores a checkpoint every every_steps updates; give that, too", "mode"),
        ("({rollouts} > 1) == ({noise} > 0.0)",
         "the first rollout has no noise, and others differ by nothing else; give rollouts and noise, or neither",
         "rollouts"),
    ),
    StorageSection: (
        ("!has(self.kms_key_id) || (has(self.sse) && self.sse.startsWith('aws:kms'))", "needs sse: aws:kms",
         "kms_key_id"),
        ("!{publish_data} || has(self.remote)", "needs remote", "publish_data"),
    ),
    Toleration: (
        ("{operator} != 'Equal' || (has(self.key) && has(self.value))", "Equal needs both key and value", "operator"),
        ("{operator} != 'Exists' || !has(self.value)", "only goes with operator Equal", "value"),
    ),
    ClusterSection: (("{fabric} == 'none' || {gpus_per_node} > 0", "needs gpus_per_node of 1 or more", "fabric"),),
    StopWhen: (("has(self.target) || has(self.patience)", "give target, patience, or both", ""),),
    RunFile: (
        ("(self.model.family == 'ladder') == (self.data.source == 'curriculum')",
         "data.source: the family ladder reads curriculum, which no other family can read", "data"),
        (f"self.model.family != 'ladder' || self.data.source != 'curriculum' || {{data.seq_len}} <= {CONTEXT}",
         "data.seq_len: rows are longer than model.context; raise that, or lower this", "data"),
        ("self.model.family != 'ladder' || self.data.source != 'curriculum' || {model.variant} != 'ssm_mem'"
         " || {model.segment} < {data.seq_len}",
         "model.segment: what a segment leaves in memory is read by those after it, and there are none; lower"
         " model.segment or raise data.seq_len", "model"),
        ("!has(self.train.tokens) || self.data.source == 'curriculum'",
         "train.tokens: puzzles are not tokens; give train.steps or train.epochs", "train"),
        ("!has(self.train.epochs) || self.data.source != 'curriculum'",
         "train.epochs: generated rows have no epochs; give train.tokens or train.steps", "train"),
        ("has(self.features) || !{evaluate.self_correction?}",
         "evaluate.self_correction: only a model that reads text can be told what is wrong", "evaluate"),
        (f"has(self.features) == ({READS_TEXT})",
         "features goes with a model of the family hybrid whose conditioning has a way of text, and only with it", ""),
        ("!has(self.features) || self.data.source in ['arc', 'folder', 'mixed']",
         "features: only ARC tasks have a text", "data"),
        ("!has(self.features) || self.model.family != 'hybrid' || {features.width} == {model.text_hidden_size}",
         "features.width: vectors do not fit model.text_hidden_size; make them equal", "features"),
        (f"!has(self.features) || self.model.family != 'hybrid' || {VECTORS} == {{model.text_vectors}}",
         "features.pooling keeps another number of vectors than model.text_vectors; make them equal", "features"),
        ("!has(self.train.recursion) || self.model.family in ['trm', 'hybrid']",
         "train.recursion: only the families trm and hybrid have cycles to change; leave it out", "train"),
        ("{train.recursion.targets} != 'interpolated' || !(self.model.family in ['trm', 'hybrid'])"
         " || {model.halt_max_steps} > 1",
         "train.recursion.targets: with model.halt_max_steps 1 the only target is the answer", "train"),
        ("{train.recursion.targets} != 'interpolated' || !(self.model.family in ['trm', 'hybrid'])"
         " || {model.no_ACT_continue}",
         "train.recursion.targets: rows take all their steps; use model.no_ACT_continue: true", "train"),
        ("self.data.source != 'arc' || {data.window} != 'fitted'"
         " || (self.model.family in ['trm', 'hybrid'] && !{model.mlp_t})",
         "data.window: only the families trm and hybrid with model.mlp_t: false can work on a part of a canvas",
         "data"),
        (f"{{train.freeze.trunk_steps}} == 0 || {PUZZLE_TABLE} > 0",
         "train.freeze.trunk_steps: there is no puzzle table to learn; model.puzzle_emb_ndim is 0", "train"),
        (f"{{train.parallel}} != 'fsdp' || {PUZZLE_TABLE} == 0",
         "train.parallel: fsdp cannot share a puzzle table; use replicate, or model.puzzle_emb_ndim: 0", "train"),
        (f"{{train.batch_size}} % ({PROCESSES} * {{train.accumulate}}) == 0",
         "train.batch_size is not divided by the processes (cluster.nodes x cluster.gpus_per_node) x train.accumulate",
         "train"),
    ),
    TrmRunSpec: (
        ("!has(self.stopWhen) || {stopWhen.metric} == {run.evaluate.best_metric}",
         "stopWhen.metric is not run.evaluate.best_metric", "stopWhen"),
        ("!has(self.stopWhen) || {run.evaluate.every_steps?}",
         "the run is scored only at its end; set run.evaluate.every_steps", "stopWhen"),
        ("!has(self.stopWhen) || !{pipeline}",
         "a pipeline decides itself what comes after training; leave one of the two out", "stopWhen"),
    ),
}  # fmt: skip
"""Section -> what must hold of it, what to say if it does not, and of which key."""
BY_NAME = {section.__name__: section for section in RULES}


def rules(name: str) -> list[Rule]:
    """Return what must hold of the section whose class has this name."""
    section = BY_NAME.get(name)
    found = RULES[section] if section else ()
    return [Rule(filled(holds, section), message, field) for holds, message, field in found if section]


def filled(holds: str, section: type[Section]) -> str:
    """Return a rule of a section with `{key}` as the key's value or default, and `{key?}` as whether it is given."""
    return re.sub(r"\{([A-Za-z_.]+)(\??)\}", lambda found: value(section, found[1].split("."), bool(found[2])), holds)


def value(section: type[Section], path: list[str], asked: bool) -> str:
    """Return the CEL for the value of a key below a section. ValueError: it has no default, or several."""
    there: list[str] = []
    here: tuple[type[Section], ...] = (section,)
    for depth, key in enumerate(path):
        owners = [one for one in here if key in one.model_fields]
        fields = [one.model_fields[key] for one in owners]
        if len(owners) < len(here) or not all(field.is_required() for field in fields):
            there.append("has(self." + ".".join(path[: depth + 1]) + ")")
        here = children(owners[0], key)
    given, place = " && ".join(there), "self." + ".".join(path)
    if asked:
        return f"({given})"
    defaults = [literal(field.get_default()) for field in fields if not field.is_required()]
    if not given:
        return place
    if len(set(defaults)) != 1 or defaults[0] == "null":
        raise ValueError(f"{'.'.join(path)}: no one default: {defaults}")
    return f"({given} ? {place} : {defaults[0]})"


def literal(given: Any) -> str:
    """Return a value in CEL."""
    if isinstance(given, tuple):
        return f"[{', '.join(literal(one) for one in given)}]"
    return f"'{given}'" if isinstance(given, str) else json.dumps(given)
