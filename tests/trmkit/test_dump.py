"""RunFile to text and back."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.trmkit.test_load import GOOD
from trmkit.spec.load import dump, load, loads
from trmkit.spec.yaml_read import parse, plain
from trmkit.spec.yaml_write import write

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"), max_size=20)
AWKWARD = st.sampled_from(
    ["1e-3", "no", "010", "1:30", "null", "", " ", "a: b", "# x", "- a", "0o7", "~", "a\n", "'", "é"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | AWKWARD
)
DATA = st.dictionaries(
    TEXT,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)),
    max_size=4,
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_resolved_config_loads_back_equal(path: Path) -> None:
    run = load(path)
    assert loads(dump(run)) == run
    assert dump(loads(dump(run))) == dump(run)


def test_every_key_is_written_in_the_order_of_the_sections() -> None:
    text = dump(loads(GOOD))
    tops = [line.partition(":")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert tops == ["name", "model", "data", "features", "train", "evaluate", "storage", "cluster", "seed"]
    assert "  lr_min_ratio: 1.0\n" in text
    assert "  betas: [0.9, 0.95]\n" in text


def test_lists_of_sections_survive() -> None:
    run = loads(
        GOOD,
        overrides=[
            "cluster.volumes=[{kind: pvc, name: a, mount_path: /a, claim: c}, {kind: secret, name: b, mount_path: /b, "
            "secret: s}]",
            "cluster.env={A: '1', B: 'yes'}",
            "cluster.labels={trm.dev/run: x}",
        ],
    )
    assert loads(dump(run)) == run


@given(DATA)
def test_whatever_is_written_is_read_back_equal(data: dict[str, object]) -> None:
    assert plain(parse(write(data), "run.yaml")) == data


@given(st.dictionaries(AWKWARD | st.text("abc019.e-+:_", max_size=8), SCALARS, min_size=1, max_size=4))
def test_a_yaml_1_1_reader_understands_the_same(data: dict[str, object]) -> None:
    assert yaml.safe_load(write(data)) == data
