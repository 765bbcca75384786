"""The strict YAML reader."""

import math

import pytest

from trmkit.errors import SpecError
from trmkit.spec.yaml_read import MAX_BYTES, MAX_NODES, parse, plain


def read(text: str) -> object:
    return plain(parse(text, "run.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.25", -0.25),
        ("010", 10),
        ("+7", 7),
        ("-7", -7),
        ("0x1f", 31),
        ("0o17", 15),
        ("9223372036854775807", (1 << 63) - 1),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("False", False),
    ],
)
def test_a_plain_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    found = read(f"key: {text}")
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "y", "N", "1:30", "2024-01-01", "1_000", "0b11", "0O17", "1e", "e3", "<<", "tRUE"],
)
def test_what_only_yaml_1_1_converts_stays_text(text: str) -> None:
    assert read(f"key: {text}") == {"key": text}


def test_a_quoted_scalar_is_text() -> None:
    assert read("a: '1'\nb: \"true\"\nc: |\n  1\n") == {"a": "1", "b": "true", "c": "1\n"}


def test_nan_is_read() -> None:
    found = parse(".nan", "run.yaml").value
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "run.yaml:2: the key a is here a second time; first in run.yaml:1"),
        ("x:\n  a: 1\n  'a': 2", "run.yaml:3: the key a is here a second time; first in run.yaml:2"),
        ("a: 1\nb: *other", "run.yaml:2: the alias *other is not allowed"),
        ("a: 1\n\nb: &name 2", "run.yaml:3: the anchor &name is not allowed"),
        ("a: !!int 3", "run.yaml:1: the tag tag:yaml.org,2002:int is not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "run.yaml:1: the tag tag:yaml.org,2002:python"),
        ("a: 1\n---\nb: 2", "run.yaml:2: a second document starts here"),
        ("a: 1\n2: b", "run.yaml:2: the key 2 is not text"),
        ("null: b", "run.yaml:1: the key null is not text"),
        ("? [1, 2]\n: b", "run.yaml:1: a list or a mapping cannot be a key"),
        ("a: 1\nb: [1, 2", "while parsing a flow sequence from line 2"),
        ("a: 1\n b: 2", "run.yaml:2: not valid YAML"),
        ("a: 1\nb: \x00", r"run.yaml:2: the control character '\x00' is not allowed"),
        ("a: \x1b[0m", r"run.yaml:1: the control character '\x1b' is not allowed"),
        ('a: "\\0"', r"run.yaml:1: the control character '\x00' is not allowed"),
        ("a: \ud800", r"run.yaml:1: the control character '\ud800' is not allowed"),
        ("a: 99999999999999999999", "run.yaml:1: the number 99999999999999999999 does not fit in 64 bits"),
        ("a: -9223372036854775809", "run.yaml:1: the number -9223372036854775809 does not fit"),
        ("a: 0xffffffffffffffffff", "does not fit in 64 bits"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "run.yaml")
    assert message in caught.value.message


def test_everything_refused_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse("a: *x\na: &y 1\n3: !t z\n", "run.yaml")
    assert [line.split(" ")[0] for line in caught.value.message.splitlines()] == [
        "run.yaml:1:",
        "run.yaml:2:",
        "run.yaml:2:",
        "run.yaml:3:",
        "run.yaml:3:",
    ]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_without_recursion(opening: str) -> None:
    with pytest.raises(SpecError, match=r"nested more than 64 deep|cannot be a key"):
        parse(opening * 100_000, "run.yaml")


def test_sixty_four_levels_are_allowed() -> None:
    assert parse("[" * 64 + "]" * 64, "run.yaml")
    with pytest.raises(SpecError, match="nested"):
        parse("[" * 65 + "]" * 65, "run.yaml")


def test_a_number_of_a_million_digits_is_refused_quickly() -> None:
    with pytest.raises(SpecError, match="does not fit in 64 bits"):
        parse("a: " + "9" * (MAX_BYTES - 10), "run.yaml")


def test_more_than_one_mebibyte_is_refused() -> None:
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        parse("#" * (MAX_BYTES + 1), "run.yaml")
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        parse("#" + "\u00e9" * (MAX_BYTES // 2), "run.yaml")


def test_too_many_values_are_refused() -> None:
    with pytest.raises(SpecError, match="more than 10,000 values"):
        parse("[" + "1," * MAX_NODES + "]", "run.yaml")


def test_an_entry_remembers_the_line_of_its_key() -> None:
    root = parse("# comment\na:\n  b: 1\n  c:\n    - x\n    - y\n", "f")
    assert isinstance(root.value, dict)
    a = root.value["a"]
    assert isinstance(a.value, dict)
    items = a.value["c"].value
    assert isinstance(items, list)
    assert [a.place, a.value["b"].place, a.value["c"].place, *(item.place for item in items)] == [
        "f:2",
        "f:3",
        "f:4",
        "f:5",
        "f:6",
    ]


def test_windows_line_ends_are_fine() -> None:
    assert read("a: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def test_an_empty_text_is_nothing() -> None:
    assert read("# only a comment\n") is None
