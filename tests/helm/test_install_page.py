"""docs/install.md: its commands are ones that Helm and trmctl know, with values that the chart takes."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.helm.charts import ROOT, helm, rendered
from tools.chart import package
from trmctl.cli import cli

PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def commands(program: str) -> list[list[str]]:
    """Return the arguments of every command of a program on the page."""
    return [shlex.split(line, comments=True)[1:] for line in LINES if line.split()[0] == program]


def values_of(words: list[str]) -> dict[str, Any]:
    """Return the values that `-f` and `--set` give together."""
    found: dict[str, Any] = {}
    for option, value in pairwise(words):
        if option == "-f":
            found = together(found, yaml.safe_load((ROOT / value).read_text(encoding="utf-8")))
        elif option == "--set":
            found = together(found, helm.parse_set_string(value))
    return found


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return values with others on top."""
    both = {key: together(one[key], value) if isinstance(one.get(key), dict) and isinstance(value, dict) else value
            for key, value in other.items()}  # fmt: skip
    return {**one, **both}


@pytest.mark.parametrize(
    "words", [words for words in commands("helm") if "trm-stack" not in " ".join(words)], ids=" ".join
)
def test_helm_takes_the_values_of_every_command(words: list[str], tmp_path: Path) -> None:
    verb, options = words[0], {word for word in words if word.startswith("-")}
    assert verb in ("install", "upgrade", "test", "template", "lint", "rollback", "uninstall")
    known = {
        "-n",
        "-f",
        "--set",
        "--logs",
        "--reuse-values",
        "--reset-then-reuse-values",
        "--create-namespace",
        "--strict",
    }
    assert options <= known
    if verb not in ("install", "upgrade", "template", "lint"):
        return
    chart = ROOT / words[1 if verb == "lint" else 2]
    if chart.suffix == ".tgz":
        assert chart.name == package(ROOT / "helm" / "trm", tmp_path).name
        chart = tmp_path / chart.name
    assert chart.exists()
    values = values_of(words)
    if verb == "lint":
        assert helm.lint(chart, values, strict=True)["errors"] == []
    assert rendered(values, chart=chart)


@pytest.mark.parametrize("words", commands("trmctl"), ids=" ".join)
def test_trmctl_knows_every_command_and_option(words: list[str]) -> None:
    found = cli.get_command(click.Context(cli), words[0])
    assert found is not None
    options = {name for each in found.params for name in (*each.opts, *each.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options


def test_every_target_of_make_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands("make"):
        assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), words


def test_every_link_and_value_on_the_page_is_there() -> None:
    folder = ROOT / "docs"
    headings = {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
                for line in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}  # fmt: skip
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        assert not path or (folder / path).exists() or path == "observe.md", target
        assert path or anchor in headings, target
    schema = yaml.safe_load((ROOT / "helm/trm/values.schema.json").read_text(encoding="utf-8"))
    for name in re.findall(r"`((?:[a-z]\w+)(?:\.\w+)+)(?:=[^`]*)?`", PAGE):
        top = name.split(".")[0]
        if top in schema["properties"]:
            assert at(schema, name.split(".")), name


def at(schema: Any, keys: list[str]) -> bool:
    """Say whether a schema has a key, through the parts that it names elsewhere."""
    node = schema
    for key in keys:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        if key not in node.get("properties", {}):
            return bool(node.get("additionalProperties"))
        node = node["properties"][key]
    return True
