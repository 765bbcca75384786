"""Run file text to RunFile: what is accepted, and how every kind of mistake is said."""

from pathlib import Path

import pytest

from trmkit.errors import SpecError
from trmkit.spec.load import load, loads
from trmkit.store.layout import run_id

GOOD = """\
name: little
model:
  family: trm
  hidden_size: 64
  num_heads: 4
data:
  source: arc
  canvas: 10
train:
  steps: 10
  batch_size: 8
"""


def message(text: str, *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        loads(text, "run.yaml", overrides)
    assert caught.value.exit_code == 2
    assert caught.value.next
    return caught.value.message


def test_a_good_file_is_loaded() -> None:
    run = loads(GOOD)
    assert (run.name, run.model.hidden_size, run.train.steps, run.cluster.nodes) == ("little", 64, 10, 1)


def test_a_number_without_a_dot_is_a_number() -> None:
    assert loads(GOOD + "  lr: 1e-3\n").train.lr == 1e-3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch_size", "batchsize", "run.yaml:11: train.batchsize: unknown key; did you mean 'batch_size'?"),
        ("canvas: 10", "canvs: 10", "run.yaml:8: data.canvs: unknown key; did you mean 'canvas'?"),
        ("  canvas: 10", "  hidden_size: 10", "data.hidden_size: unknown key; did you mean 'model.hidden_size'?"),
        ("canvas: 10", "qqqqqqq: 10", "run.yaml:8: data.qqqqqqq: unknown key"),
        (
            "source: arc",
            "source: acr",
            "run.yaml:7: data.source: expected one of sudoku, sudoku-generated, maze, maze-generated, arc, "
            "folder, mixed or curriculum, found 'acr'; "
            "did you mean 'arc'?",
        ),
        (
            "  source: arc\n",
            "",
            "run.yaml:6: data.source: missing; expected sudoku, sudoku-generated, maze, maze-generated",
        ),
        (
            "family: trm",
            "family: tmr",
            "run.yaml:3: model.family: expected one of trm, hybrid, deep_recursion or ladder, found 'tmr'; did you mean"
            " 'trm'?",
        ),
        ("name: little\n", "", "run.yaml:1: name: missing; Name of the experiment"),
        ("  family: trm\n", "", "run.yaml:2: model.family: missing; expected trm, hybrid, deep_recursion or ladder"),
        ("name: little", "name: Little", "run.yaml:1: name: expected text of the form ^[a-z]"),
        ("steps: 10", "steps: many", "run.yaml:10: train.steps: expected a whole number, found 'many'"),
        ("steps: 10", "steps: 1e3", "run.yaml:10: train.steps: expected a whole number, found 1000.0"),
        ("steps: 10", "steps: true", "run.yaml:10: train.steps: expected a whole number, found true"),
        ("steps: 10", "steps: 0", "run.yaml:10: train.steps: expected a number above 0, found 0"),
        ("steps: 10", "steps: [1]", "run.yaml:10: train.steps: expected a whole number, found a list"),
        ("steps: 10", "steps: {a: 1}", "run.yaml:10: train.steps: expected a whole number, found a section"),
        ("canvas: 10", "canvas: 65", "run.yaml:8: data.canvas: expected 64 or less, found 65"),
        ("canvas: 10", "canvas: 1", "run.yaml:8: data.canvas: expected 2 or more, found 1"),
        ("canvas: 10", "collections: []", "run.yaml:8: data.collections: expected a list of at least 1, found a list"),
        ("canvas: 10", "collections: arc1", "run.yaml:8: data.collections: expected a list, found 'arc1'"),
        ("canvas: 10", "collections: [1]", "data.collections.0: expected text, found 1; put it in quotes"),
        ("canvas: 10", "translate: no", "data.translate: expected true or false, found 'no'; write true or false"),
        ("canvas: 10", "test: arc2/training", "run.yaml:8: data.test: 'arc2/training' is not one of collections"),
        ("num_heads: 4", "num_heads: 5", "run.yaml:5: model.num_heads: 5 does not divide hidden_size 64"),
        ("steps: 10", "lr: .inf\n  steps: 1", "run.yaml:10: train.lr: expected a finite number, found inf"),
        ("steps: 10", "lr: 1e999\n  steps: 1", "run.yaml:10: train.lr: expected a finite number, found inf"),
        ("steps: 10", "lr: .nan\n  steps: 1", "run.yaml:10: train.lr: expected a finite number, found nan"),
        ("steps: 10", "lr:\n  steps: 1", "run.yaml:10: train.lr: expected a number, found nothing"),
        (
            "steps: 10",
            "steps: 1\n  log:",
            "run.yaml:11: train.log: expected a section: keys with values, found nothing",
        ),
        ("name: little", "name: little\ncluster: 4", "run.yaml:2: cluster: expected a section"),
        ("name: little", "name: 12", 'run.yaml:1: name: expected text, found 12; put it in quotes: "12"'),
        (
            "name: little",
            "name: little\ncluster: {nodes: 3}",
            "run.yaml:12: train.batch_size: 8 is not divided by 3 processes",
        ),
    ],
)
def test_a_mistake_is_said_with_line_path_and_expectation(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert said in message(GOOD.replace(old, new, 1))


LANGUAGE = """
name: little
model: {family: ladder, variant: ssm_mem, size: pico, segment: 64}
data: {source: curriculum, seq_len: 64}
train: {steps: 10, batch_size: 8}
"""


def test_a_memory_that_no_token_of_a_row_reads_is_refused() -> None:
    said = message(LANGUAGE)
    assert "run.yaml:3: model.segment: what 64 tokens leave in memory" in said
    assert "lower model.segment or raise data.seq_len" in said
    loads(LANGUAGE, "run.yaml", ["model.segment=63"])
    loads(LANGUAGE, "run.yaml", ["model.variant=ssm"])


def test_all_mistakes_are_said_at_once_in_the_order_of_the_lines() -> None:
    text = GOOD.replace("family", "famly").replace("arc", "acr").replace("steps: 10", "steps: x\n  lr_: 1")
    lines = message(text, "seed=-1").splitlines()
    assert lines[0] == "run.yaml: 5 things are wrong"
    assert "model.famly: unknown key; did you mean 'family'?" in lines[1]
    assert [line.split()[0] for line in lines[1:]] == [
        "run.yaml:3:",
        "run.yaml:7:",
        "run.yaml:10:",
        "run.yaml:11:",
        "--set",
    ]


def test_of_thousands_of_mistakes_the_first_fifty_are_shown() -> None:
    lines = message(GOOD + "".join(f"  key{number}: 1\n" for number in range(3000))).splitlines()
    assert lines[0] == "run.yaml: 3000 things are wrong"
    assert lines[-1] == "  and 2950 more"
    assert len(lines) == 52


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name: missing"),
        ("[1, 2]", "run.yaml:1: the run file: expected a section: keys with values, found a list"),
        ("just text", "the run file: expected a section: keys with values, found 'just text'"),
    ],
)
def test_something_else_than_a_mapping_is_refused(text: str, said: str) -> None:
    assert said in message(text)


def test_a_list_of_choices_is_named_by_position() -> None:
    volumes = "cluster.volumes=[{kind: pvc, name: a, mount_path: /a, claim: c}, {kind: pcv}]"
    assert "cluster.volumes.1.kind: expected one of pvc, emptyDir, configMap or secret" in message(GOOD, volumes)
    volumes = "cluster.volumes=[{kind: pvc, name: a, mount_path: a, claim: c}]"
    assert "cluster.volumes.0.mount_path: expected text of the form" in message(GOOD, volumes)


def test_a_missing_file_a_folder_and_wrong_bytes_are_spec_errors(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(SpecError, match="cannot be read"):
        load("a\0b")
    (tmp_path / "latin.yaml").write_bytes(b"name: x\nmodel: \xe9\n")
    with pytest.raises(SpecError, match=r"latin.yaml:2: not UTF-8"):
        load(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_bytes(b"\xff" * ((1 << 20) + 1))
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        load(tmp_path / "large.yaml")


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(GOOD, encoding="utf-8-sig")
    assert load(tmp_path / "run.yaml") == loads(GOOD)


@pytest.mark.parametrize(("config", "identity"), [("sudoku-4x4", "768f051b"), ("sudoku-extreme-mlp", "4c055784")])
def test_a_run_keeps_the_id_that_it_had_before_later_keys(config: str, identity: str) -> None:
    assert run_id(load(Path(__file__).parents[2] / "configs" / f"{config}.yaml")) == identity
