"""Whatever a run file holds, reading it gives a RunFile or a SpecError, and quickly."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trmkit.test_dump import CONFIGS, SCALARS
from trmkit.errors import SpecError
from trmkit.spec.load import decode, load, loads
from trmkit.spec.run import RunFile
from trmkit.spec.tree import key_paths
from trmkit.spec.yaml_write import write

SLOWEST = 5.0
"""CPU seconds. The largest file takes 0.2 alone, and five times that in a process full of other tests' objects."""
PATHS = sorted(key_paths(RunFile))
VALUES = SCALARS | st.sampled_from(["arc", "sudoku", "trm", "auto", [], {}, [1, 2], {"a": 1}, -1, 1 << 62, 1e308])
SNIPPETS = [
    b"\n",
    b": ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"&a ",
    b"*a",
    b"!!x ",
    b"'",
    b'"',
    b"|\n",
    b"? ",
    b"# ",
    b"---\n",
]
SNIPPETS += [
    b"...\n",
    b"%YAML 1.1\n",
    b"\t",
    b"\r\n",
    b"\x00",
    b"\xff",
    b"\xe2\x80\xa8",
    b"<<: ",
    b"1e999",
    b"0x",
    b"-.inf",
]


def outcome(read: Callable[[], RunFile]) -> RunFile | SpecError:
    """Return what reading gives; anything else than a RunFile or a SpecError gets through and fails the test."""
    try:
        return read()
    except SpecError as error:
        return error


def check(read: Callable[[], RunFile]) -> None:
    """Fail when reading gives neither a RunFile nor a SpecError that says something, or takes long."""
    start = time.process_time()
    found = outcome(read)
    assert isinstance(found, RunFile) or found.message
    assert time.process_time() - start < SLOWEST


def check_bytes(raw: bytes) -> None:
    check(lambda: loads(decode(raw, "run.yaml"), "run.yaml"))


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """Return `raw` with one to eight random changes."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice((1, 1, 2, 8, 40)))
        change: Callable[[], bytes] = rng.choice(
            (
                lambda: b"",
                lambda: bytes([rng.randrange(256)]),
                lambda: rng.choice(SNIPPETS),
                lambda: rng.choice(SNIPPETS) * rng.choice((1, 3, 100)),
                lambda p=place: bytes(data[p : p + 60]),  # type: ignore[misc]
            )
        )
        data[place : end if rng.random() < 0.5 else place] = change()
    return bytes(data)


def mutate_configs(cases: int, seed: int) -> None:
    rng = random.Random(seed)
    sources = [path.read_bytes() for path in CONFIGS]
    for _ in range(cases):
        raw = mutated(rng.choice(sources), rng)
        try:
            check_bytes(raw)
        except Exception as error:
            raise AssertionError(f"{raw!r}") from error


structures = st.lists(st.tuples(st.sampled_from(PATHS), VALUES), max_size=8)


def change_keys(changes: list[tuple[str, object]], path: Path) -> None:
    overrides = [f"{key}={write({'x': value})[3:]}" for key, value in changes]
    check(lambda: load(path, overrides))


def test_a_thousand_mutated_run_files_give_a_run_file_or_a_spec_error() -> None:
    mutate_configs(1000, seed=0)


@settings(max_examples=1000, deadline=1000, suppress_health_check=list(HealthCheck))
@given(structures, st.sampled_from(CONFIGS))
def test_a_thousand_random_settings_give_a_run_file_or_a_spec_error(
    changes: list[tuple[str, object]], path: Path
) -> None:
    change_keys(changes, path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 10))
def test_ten_thousand_mutated_run_files_give_a_run_file_or_a_spec_error(seed: int) -> None:
    mutate_configs(10_000, seed)


@pytest.mark.full
@settings(max_examples=10_000, deadline=1000, suppress_health_check=list(HealthCheck))
@given(structures, st.sampled_from(CONFIGS))
def test_ten_thousand_random_settings_give_a_run_file_or_a_spec_error(
    changes: list[tuple[str, object]], path: Path
) -> None:
    change_keys(changes, path)


LARGE = 1 << 20


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "x" * (LARGE - 10),
        "x" * (LARGE - 10) + ": 1",
        "a: " + "1" * (LARGE - 10),
        "a: 0." + "1" * (LARGE - 10),
        "a: '" + "''" * (LARGE // 2 - 10) + "'",
        'a: "' + "\\n" * (LARGE // 2 - 10) + '"',
        "\n" * (LARGE - 1),
        " " * (LARGE - 1),
        "#" * (LARGE - 1),
        "? " * (LARGE // 2 - 1),
        "".join(f"k{number}: 1\n" for number in range(9_900 // 2)),
        "train:\n" + "".join(f"  lr{number}: 1\n" for number in range(9_900 // 2)),
        "cluster: {labels: {" + ", ".join(f"a{number}: b" for number in range(4_900)) + "}}",
        "cluster: {volumes: [" + "{}, " * 9_900 + "]}",
        "cluster: {volumes: [" + "{kind: pvc, name: a, mount_path: /a, claim: c}, " * 1_000 + "]}",
        "name: " + "a-" * (LARGE // 2 - 10),
        "data: {source: arc, collections: [" + "a, " * 9_900 + "]}",
        "a: *" + "x" * (LARGE - 10),
        "*a : 1\n" * 10_000,
        "a: |\n" + " x\n" * (LARGE // 3 - 10),
    ],
    ids=range(20),
)
def test_a_file_as_large_as_allowed_is_read_quickly(text: str) -> None:
    check_bytes(text.encode())
