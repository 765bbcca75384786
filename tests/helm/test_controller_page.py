"""docs/controller.md: its objects are taken, its commands are known, and its tables say what the code has."""

import re
import shlex
from itertools import pairwise
from typing import Any

import click
import pytest
import yaml

from tests.helm.charts import ROOT, helm, rendered
from tests.trmkit.render.test_crd import refusals
from trmctl.cli import cli
from trmkit.render.base import CONTROLLER, CONTROLLER_LEASE
from trmkit.spec.load import loads
from trmkit.spec.tree import children
from trmkit.spec.trmrun import TrmRunSpec
from trmkit.spec.trmrun_status import TrmRunStatus

PAGE = (ROOT / "docs" / "controller.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith("#")
]


def section(heading: str) -> str:
    """Return what stands under a heading."""
    return re.split(r"\n#+ ", PAGE.split(f"# {heading}\n", 1)[1], maxsplit=1)[0]


def first_cells(text: str) -> list[list[str]]:
    """Return what is marked as code in the first cell of each row of tables."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [re.findall(r"`([^`]+)`", cell) for cell in cells if "`" in cell]


def test_the_trmrun_on_the_page_is_taken_as_file_and_by_the_rules_of_the_definition() -> None:
    (text,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if re.search(r"^kind: TrmRun", block, re.M)
    ]
    assert loads(text, "docs/controller.md").name == "sudoku-4x4"
    assert refusals(yaml.safe_load(text)) == []


def test_every_key_around_the_run_is_on_the_page() -> None:
    wanted = []
    for name in TrmRunSpec.model_fields:
        below = children(TrmRunSpec, name) if name != "run" else ()
        wanted += [f"{name}.{key}" for key in below[0].model_fields] if below else [name]
    assert sorted(key for (key,) in first_cells(section("Keys"))) == sorted(wanted)


def test_every_key_of_the_status_is_on_the_page() -> None:
    text = section("Status")
    in_words = {
        "startTime",
        "completionTime",
        "pausedSince",
        "pausedSeconds",
        "nextAttemptTime",
        "conditions",
        "stopped",
        "discarded",
    }
    for name in TrmRunStatus.model_fields:
        assert name in text or name in in_words, name


def test_every_right_of_the_controller_is_explained() -> None:
    explained = {name for row in first_cells(section("Rights")) for name in row}
    assert explained == {resource for _, resources, _ in (*CONTROLLER, *CONTROLLER_LEASE) for resource in resources}


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("helm install")])
def test_the_chart_takes_the_values_of_every_command(line: str) -> None:
    values: dict[str, Any] = {}
    for option, value in pairwise(shlex.split(line)):
        if option == "--set":
            for key, found in helm.parse_set_string(value).items():
                values[key] = {**values.get(key, {}), **found}
    assert {"Deployment"} <= {found["kind"] for found in rendered(values)}


@pytest.mark.parametrize("line", [line.split("|")[0] for line in LINES if line.startswith("trmctl")])
def test_trmctl_knows_every_command_and_its_options(line: str) -> None:
    words = shlex.split(line.split(" > ")[0], comments=True)
    command = cli.get_command(click.Context(cli), words[1])
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words[2:] if word.startswith("-")} <= known
