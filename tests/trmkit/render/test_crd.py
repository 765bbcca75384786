"""The definition of TrmRun: what an API server says to it, and to what is applied under it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from tests.trmkit.render import cel
from tests.trmkit.render.structural import later_refuses, nodes, translated, violations
from trmkit.render.crd import definition, schema
from trmkit.render.structural import Structural, together
from trmkit.render.text import write_all
from trmkit.spec.trmrun import API_VERSION, KIND, TrmRunSpec
from trmkit.spec.yaml_read import parse, plain

kubernetes_validate = pytest.importorskip("kubernetes_validate")
ROOT = Path(__file__).parents[3]
CONFIGS = {
    path.stem: plain(parse(path.read_text(encoding="utf-8"), path.name)) for path in (ROOT / "configs").glob("*")
}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_BYTES = 256 * 1024
"""Of all annotations of an object; `kubectl apply` keeps the whole object in one."""
RESERVED = {
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
}  # fmt: skip
"""Words of CEL, which a rule has to write otherwise where they are keys."""
SCHEMA = schema()
VALIDATOR = Draft202012Validator(translated(SCHEMA["properties"]["spec"]))
RUN = SCHEMA["properties"]["spec"]["properties"]["run"]
Body = dict[str, Any]


def body(run: Body, **around: Any) -> Body:
    """Return a TrmRun."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "little", "namespace": "team"},
        "spec": {"run": json.loads(json.dumps(run)), **around},
    }


def refusals(found: Body) -> list[str]:
    """Return why an API server would not take a TrmRun: its schema first, and then, if that is content, its rules."""
    said = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(found["spec"])]
    return said or list(cel.broken(SCHEMA, found))


def put(run: Body, path: str, value: Any) -> Body:
    """Return a run file with another value at a path."""
    run = json.loads(json.dumps(run))
    *way, last = path.split(".")
    here = run
    for key in way:
        if not isinstance(here.get(key), dict):
            here[key] = {}
        here = here[key]
    here[last] = value
    return run


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.37"])
def test_kubernetes_takes_the_definition(version: str) -> None:
    kubernetes_validate.validate(definition(), version, strict=True)


def test_its_schema_is_structural() -> None:
    assert violations(SCHEMA) == []


def test_every_rule_compiles_with_the_types_of_the_schema() -> None:
    assert cel.type_errors(SCHEMA) == []


def test_every_rule_names_a_key_that_is_there_and_says_something_of_one_line() -> None:
    seen = set()
    for path, node in nodes(SCHEMA):
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule.get("fieldPath", ".").removeprefix(".") in {"", *node.get("properties", {})}, path
            assert "\n" not in rule["message"]
            assert (path, rule["rule"]) not in seen
            seen.add((path, rule["rule"]))


def test_no_rule_asks_for_a_key_that_kubernetes_would_want_escaped() -> None:
    for path, node in nodes(SCHEMA):
        for rule in node.get("x-kubernetes-validations", ()):
            keys = {
                key for chain in re.findall(r"\b(?:self|part)((?:\.\w+)+)", rule["rule"]) for key in chain.split(".")
            }
            assert not keys & RESERVED, path
            assert not [key for key in keys if "__" in key], path


def test_what_is_in_lists_with_rules_has_bounds_that_make_them_affordable() -> None:
    def held(node: Body, path: str) -> None:
        within = list(nodes(node.get("items", {"type": "string"})))
        if node.get("type") == "array" and any("x-kubernetes-validations" in below for _, below in within):
            assert node["maxItems"] <= 64, path

    for path, node in nodes(SCHEMA):
        held(node, path)


def test_kubectl_can_keep_the_whole_definition_in_an_annotation() -> None:
    assert len(json.dumps(definition())) < MOST_BYTES // 2
    assert len(write_all([definition()])) < MOST_BYTES


def test_nothing_is_filled_in_so_that_what_is_there_is_what_was_applied() -> None:
    assert not [path for path, node in nodes(SCHEMA) if "default" in node]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_run_file_of_the_project_is_taken(name: str) -> None:
    assert refusals(body(CONFIGS[name])) == []


@pytest.mark.parametrize("name", CONFIGS)
def test_every_run_file_is_taken_with_all_its_keys_written_out(name: str) -> None:
    whole = TrmRunSpec.model_validate({"run": CONFIGS[name]}).model_dump(mode="json")
    assert refusals(body(whole.pop("run"), **whole)) == []


WRONG = {
    "a key of another family": ("sudoku-4x4", "model.text_hidden_size", 64, "family hybrid alone"),
    "a key of another source": ("sudoku-4x4", "data.canvas", 10, "source arc alone"),
    "a family that there is not": ("sudoku-4x4", "model.family", "trn", "trn"),
    "heads that do not divide": ("sudoku-4x4", "model.num_heads", 7, "num_heads does not divide"),
    "two lengths": ("sudoku-4x4", "train.tokens", 10, "give one of steps"),
    "no length": ("sudoku-4x4", "train.steps", None, "give one of steps"),
    "a batch that is not shared": ("sudoku-4x4", "cluster.gpus_per_node", 7, "not divided by the processes"),
    "a language model that reads puzzles": ("sudoku-4x4", "model", {"family": "ladder"}, "reads curriculum"),
    "rows longer than the context": ("ladder-nano", "data.seq_len", 9000, "longer than model.context"),
    "epochs of rows without end": ("ladder-nano", "train", {"epochs": 2}, "have no epochs"),
    "features that nobody reads": ("arc1", "features", {"reader": "hash"}, "conditioning has a way of text"),
    "a reader of other vectors": ("hybrid-demo", "features.width", 77, "do not fit"),
    "a reader that keeps too many": ("hybrid-demo", "features.pooling", "last_k", "another number of vectors"),
    "nobody who reads": ("hybrid-demo", "features", None, "conditioning has a way of text"),
    "recursion of what has none": ("ladder-nano", "train.recursion", {"step_decay": 0.7}, "have cycles to change"),
    "a store to publish in that is not": ("sudoku-4x4", "storage.publish_data", True, "needs remote"),
    "a key without its encryption": ("sudoku-4x4", "storage.kms_key_id", "k", "needs sse"),
    "a fabric without GPUs": ("sudoku-4x4", "cluster.fabric", "ib", "gpus_per_node of 1 or more"),
    "a test that is no collection": ("arc1", "data.test", "arc9/none", "not one of collections"),
    "a mix of one": ("arc1", "data", {"source": "mixed", "parts": [{"source": "maze"}]}, "two sources or more"),
    "a folder without path": ("arc1", "data", {"source": "folder"}, "path is missing"),
    "a side that has no boxes": ("sudoku-4x4", "data.side", 5, "4, 6 or 9"),
    "quantities of nothing": ("sudoku-4x4", "cluster.memory", "lots", "lots"),
    "a negative quantity": ("sudoku-4x4", "cluster.cpu", -1, "minimum"),
    "half a number of steps": ("sudoku-4x4", "train.steps", 1.5, "1.5 is not"),
    "text for a number": ("sudoku-4x4", "train.lr", "1e-3", "number"),
    "a rate of nothing": ("sudoku-4x4", "train.lr", 0, "minimum"),
    "a key that there is not": ("sudoku-4x4", "train.learning_rate", 1, "learning_rate"),
    "a word that compile is not": ("sudoku-4x4", "train.compile", "yes", "yes"),
    "a toleration of two minds": (
        "sudoku-4x4", "cluster.tolerations", [{"key": "a", "value": "b"}], "only goes with operator Equal"),
    "a volume with another's key": (
        "sudoku-4x4", "cluster.volumes",
        [{"kind": "pvc", "name": "a", "mount_path": "/a", "claim": "c", "memory": True}],
        "emptyDir alone"),
    "a volume without its claim": (
        "sudoku-4x4", "cluster.volumes", [{"kind": "pvc", "name": "a", "mount_path": "/a"}], "claim is missing"),
    "rollouts that are all the same": ("sudoku-4x4", "evaluate.rollouts", 3, "no noise"),
    "early exits of nobody": ("sudoku-4x4", "evaluate.settled", True, "early_exit"),
    "a job for evaluations that are not": ("sudoku-4x4", "evaluate", {"mode": "job"}, "every every_steps updates"),
    "a table that is not there": ("ladder-nano", "train.freeze", {"trunk_steps": 5}, "no puzzle table"),
    "a table that cannot be shared": ("sudoku-4x4", "model.puzzle_emb_ndim", 9999, "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_refused_with_a_reason(mistake: str) -> None:
    name, path, value, said = WRONG[mistake]
    found = body(put(CONFIGS[name], path, value))
    with pytest.raises(ValidationError):
        TrmRunSpec.model_validate(found["spec"])
    assert said in " ".join(refusals(found))


@pytest.mark.parametrize(
    ("around", "said"),
    [
        ({"stopWhen": {}}, "give target"),
        ({"stopWhen": {"metric": "accuracy", "target": 0.5}}, "not run.evaluate.best_metric"),
        ({"stopWhen": {"target": 0.5}, "pipeline": True}, "a pipeline decides itself"),
        ({"deadline": "3 days"}, "3 days"),
        ({"attempts": {"limit": -1}}, "-1"),
        ({"suspend": "yes"}, "yes"),
        ({"paused": True}, "paused"),
    ],
)
def test_mistakes_around_the_run_are_refused(around: Body, said: str) -> None:
    run = put(CONFIGS["sudoku-4x4"], "evaluate.every_steps", 10)
    assert refusals(body(run)) == []
    assert said in " ".join(refusals(body(run, **around)))


def test_stopping_early_needs_scores_on_the_way() -> None:
    run = put(CONFIGS["sudoku-4x4"], "evaluate.every_steps", None)
    assert "evaluate.every_steps" in " ".join(refusals(body(run, stopWhen={"patience": 3})))


def test_a_name_that_is_no_label_is_refused() -> None:
    found = body(CONFIGS["sudoku-4x4"])
    found["metadata"]["name"] = "a" * 64
    assert "63 characters" in " ".join(refusals(found))


def leaves() -> list[tuple[str, Body]]:
    """Return every key of a run file that holds a value, with its schema."""
    return [
        (path.removeprefix("."), node)
        for path, node in nodes(RUN)
        if path and "[]" not in path and "{}" not in path and "properties" not in node and path != ".name"
    ]


def a_value(node: Body) -> st.SearchStrategy[Any]:
    """Return values that a key may well have, by its schema."""
    found: list[st.SearchStrategy[Any]] = [st.none()] if node.get("nullable") else []
    if "enum" in node:
        found.append(st.sampled_from(node["enum"]))
    elif "x-kubernetes-int-or-string" in node:
        found.append(st.sampled_from([1, 8, "500m", "16Gi", "1.5"]))
    elif node["type"] == "boolean":
        found.append(st.booleans())
    elif node["type"] == "integer":
        found.append(st.sampled_from([0, 1, 2, 3, 4, 6, 8, 9, 16, 64, 256, 512, 1024, 4096, 100_000]))
    elif node["type"] == "number":
        found.append(st.sampled_from([0, 0.0, 0.1, 0.5, 1, 1.0, 2.5, 30]))
    elif node["type"] == "string":
        words = ["a", "batch", "s3://bucket/runs", "/data", "aws:kms", "AES256", "hash", "http://minio:9000"]
        found.append(st.sampled_from(words))
    else:
        found.append(st.just([] if node["type"] == "array" else {}))
    return st.one_of(found)


LEAVES = dict(leaves())
CHANGES = st.lists(
    st.sampled_from(sorted(LEAVES)).flatmap(lambda path: st.tuples(st.just(path), a_value(LEAVES[path]))),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(CONFIGS)), changes=CHANGES)
def test_what_a_run_file_may_say_is_never_refused(name: str, changes: list[tuple[str, Any]]) -> None:
    run = CONFIGS[name]
    for path, value in changes:
        run = put(run, path, value)
    found = body(run)
    try:
        TrmRunSpec.model_validate(found["spec"])
    except ValidationError:
        assume(False)
    assert refusals(found) == []


def test_a_definition_that_takes_less_is_told_from_one_that_takes_more() -> None:
    old = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"type": "string", "enum": ["x", "y"]}},
    }
    more = json.loads(json.dumps(old))
    more["properties"] |= {"c": {"type": "string"}}
    more["properties"]["b"]["enum"].append("z")
    assert list(later_refuses(old, more)) == []
    assert list(later_refuses(more, old)) == [".b: enum is narrower", ".c: is gone"]
    less = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 1}}}
    assert list(later_refuses(old, less)) == [": a is now required", ".a: minimum is higher", ".b: is gone"]


@pytest.mark.parametrize(
    "stored", sorted((ROOT / "tests/helm").glob("crd-v1alpha1-*.yaml")), ids=lambda path: path.stem
)
def test_what_an_older_version_took_is_taken_still(stored: Path) -> None:
    old = yaml.load(stored.read_text(encoding="utf-8"), LOADER)
    served = {one["name"]: one["schema"]["openAPIV3Schema"] for one in definition()["spec"]["versions"]}
    assert old["spec"]["names"] == definition()["spec"]["names"]
    for version in old["spec"]["versions"]:
        assert list(later_refuses(version["schema"]["openAPIV3Schema"], served[version["name"]])) == []


def test_a_key_of_two_types_stops_whoever_adds_it() -> None:
    with pytest.raises(ValueError, match="two types"):
        together({"a": {"description": "x", "type": "string"}, "b": {"description": "x", "type": "integer"}}, 2)
    with pytest.raises(ValueError, match="no structural schema"):
        Structural({}, lambda name: [], {}, {}).of({"anyOf": [{"type": "integer"}, {"type": "boolean"}]})


def test_every_key_says_what_it_means_and_what_it_is_if_it_is_not_given() -> None:
    def said(path: str) -> str:
        node = SCHEMA["properties"]["spec"]
        for key in path.split("."):
            node = node["properties"][key]
        return str(node["description"])

    assert said("run.train.lr") == "Peak learning rate. [default: 0.0001]"
    assert said("attempts.backoff").endswith('[default: "10s"]')
    assert said("run.train.grad_clip").endswith("[default: null]")
    of_families = said("run.model.puzzle_emb_ndim")
    assert all(part in of_families for part in ("trm: ", "[default: 512]", "hybrid: ", "[default: 0]", "[default: 64]"))
    assert said("run.data.canvas").startswith("arc: Side of the square")
