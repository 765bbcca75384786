"""What the sections say about themselves."""

from inspect import cleandoc
from typing import Any

import pytest

from trmkit.errors import SpecError
from trmkit.spec.base import Section
from trmkit.spec.documented import documentation
from trmkit.spec.explain import Key, Page, explain, pages, schema
from trmkit.spec.run import RunFile
from trmkit.spec.tree import children


def keys(path: str) -> list[Key]:
    return [item for item in explain(path) if isinstance(item, Key)]


def test_a_key_has_a_type_a_default_and_a_meaning() -> None:
    (key,) = keys("train.lr")
    assert (key.path, key.type, key.default, key.doc) == (
        "train.lr",
        "number above 0 and up to 10",
        "0.0001",
        "Peak learning rate.",
    )


@pytest.mark.parametrize("path", ["data.canvas", "data.arc.canvas"])
def test_a_key_of_one_choice_is_found_with_and_without_the_choice(path: str) -> None:
    (key,) = keys(path)
    assert (key.path, key.type) == ("data.canvas", "whole number from 2 to 64")


def test_a_key_that_choices_share_is_explained_for_each() -> None:
    assert [key.when for key in keys("data.path")] == ["source: sudoku", "source: maze", "source: folder"]
    assert len(keys("data.maze.path")) == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("train.betas", "list of 2: number from 0 to below 1"),
        ("train.steps", "whole number above 0 or null"),
        ("train.optimizer", "one of adam_atan2, adamw, muon"),
        ("train.log.tensorboard", "true or false"),
        ("train.compile", "true or false or auto"),
        ("cluster.env", "map of text to text"),
        ("cluster.image_pull_secrets", "list of text"),
        ("data.arc.collections", "list of text, at least 1"),
        ("cluster.cpu", "text or number"),
        ("name", "text"),
    ],
)
def test_the_type_is_said_in_words(path: str, words: str) -> None:
    assert keys(path)[0].type == words


def test_sections_and_choices_are_pages() -> None:
    assert [page.path for page in explain("") if isinstance(page, Page)] == [""]
    assert [page.when for page in explain("data") if isinstance(page, Page)][4] == "source: arc"
    assert [page.path for page in explain("train.log")] == ["train.log"]
    assert len(explain("cluster.volumes")) == 4


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("train.lrr", "'train' has no key 'lrr'; did you mean 'lr'?"),
        ("tain", "there is no section or key 'tain'; did you mean 'train'?"),
        ("data.ark", "'data' has no key 'ark'; did you mean 'arc'?"),
        ("train.lr.x", "'train.lr' has no key 'x'"),
        ("a..b", "there is no section or key 'a'"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error_with_a_suggestion(path: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        explain(path)
    assert said in caught.value.message


def every_section(section: type[Section] = RunFile) -> set[type[Section]]:
    below = {child for name in section.model_fields for child in children(section, name)}
    return {section}.union(*(every_section(child) for child in below))


@pytest.mark.parametrize("section", sorted(every_section(), key=lambda section: section.__name__))
def test_every_section_and_every_key_has_a_docstring(section: type[Section]) -> None:
    assert section.__doc__
    assert not section.__doc__.startswith(Section.__doc__ or "")
    undocumented = [name for name in section.model_fields if not documentation(section).get(name)]
    assert undocumented == []


def test_there_is_a_page_for_every_section() -> None:
    assert {page.doc for page in pages()} == {cleandoc(section.__doc__ or "") for section in every_section()}


def test_a_page_of_several_lines_is_not_indented_as_its_source_is() -> None:
    docs = {page.doc for page in pages()}
    assert any("\n" in doc for doc in docs)
    assert not [doc for doc in docs if "\n  " in doc]


def objects(node: Any) -> list[dict[str, Any]]:
    below = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    own = [node] if isinstance(node, dict) and "properties" in node and node.get("type") == "object" else []
    return own + [found for child in below for found in objects(child)]


def test_the_schema_allows_no_unknown_key_and_describes_every_key() -> None:
    found = schema()
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert len(objects(found)) == len(every_section())
    for part in objects(found):
        assert part["additionalProperties"] is False
        for name, key in part["properties"].items():
            assert "description" in key or "$ref" in key, name


def test_keys_of_a_trmrun_are_explained_too() -> None:
    (found,) = explain("spec.deadline")
    assert isinstance(found, Key)
    assert "Longest time" in found.doc
    assert [key.path for page in explain("spec.stopWhen") if isinstance(page, Page) for key in page.keys][:2] == [
        "spec.stopWhen.metric", "spec.stopWhen.target",
    ]  # fmt: skip
    assert explain("spec.run.train.lr")[0].doc == explain("train.lr")[0].doc
    with pytest.raises(SpecError, match="did you mean 'deadline'"):
        explain("spec.deadlin")
