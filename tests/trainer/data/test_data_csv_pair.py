"""Puzzles in CSV files: where they are fetched from, and what is wrong with a line of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.data.csv_pair import opened, read_table
from trmkit.errors import DataError, StoreError
from trmkit.store.s3 import download

DIGITS = {".": 0, "1": 1, "2": 2}
HEADER = "source,question,answer,rating\n"


def table_of(tmp_path: Path, text: str | bytes, rated: bool = True) -> list[list[int]]:
    file = tmp_path / "train.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, DIGITS, (2, 3), rated=rated).questions.tolist()


def test_rows_become_codes_and_columns_may_come_in_any_order(tmp_path: Path) -> None:
    assert table_of(tmp_path, HEADER + "x,1.2.,1122,5\n") == [[1, 0, 2, 0]]
    assert table_of(tmp_path, 'rating,more,answer,question\n5,"a,b\nc",1122,1.2.\n1,,1122,....\n')[1] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "line 1: the columns are none"),
        ("question,answer\n", "line 1: the columns are question, answer; question, answer, rating are needed"),
        (HEADER, "has no rows"),
        (HEADER + "x,1.2.,1122,5\nx,1.2,1122,5\n", "line 3: has 3 and 4 cells, not 4"),
        (HEADER + "x,1.2.,112,5\n", "line 2: has 4 and 3 cells, not 4"),
        (HEADER + "x,1.2.1,11221,5\n", r"line 2: the question has 5 cells, not one of \[4, 9\]"),
        (HEADER + "x,,,5\n", "line 2: the question has 0 cells"),
        (HEADER + f"x,{'1' * 16},{'1' * 16},5\n", "line 2: the question has 16 cells"),
        (HEADER + "x,1.2.,1122,5\nx,1.2x,1122,5\n", "line 3: has a character that means nothing here"),
        (HEADER + "x,1.2\u00e9,1122,5\n", "line 2: has a character"),
        (HEADER + "x,1.2\u4e00,1122,5\n", "line 2: has a character"),
        (HEADER + "x,1.2.,1122,hard\n", "line 2: the rating 'hard' is not a whole number"),
        (HEADER + "x,1.2.,1122,-1\n", "line 2: the rating"),
        (HEADER + f"x,1.2.,1122,{'9' * 5000}\n", "line 2: the rating"),
        (HEADER + "x,1.2.,1122\n", "line 2: has 3 fields, the first line 4"),
        (HEADER + '"a\nb",1.2.,1122,5\nx,1.2.,1122,5,6\n', "line 4: has 5 fields"),
        (HEADER + 'x,"1.2."1,1122,5\n', "not CSV"),
        (HEADER.encode() + b"x,\xff\xfe,1122,5\n", "not CSV in UTF-8"),
        (HEADER + f"x,{'1' * 200_000},1122,5\n", "not CSV"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, what: str) -> None:
    with pytest.raises(DataError, match=rf"train\.csv.*{what}"):
        table_of(tmp_path, text)


def test_ratings_nobody_asked_for_may_be_anything(tmp_path: Path) -> None:
    assert table_of(tmp_path, HEADER + "x,1.2.,1122,hard\n", rated=False) == [[1, 0, 2, 0]]


def test_a_missing_file_is_named(write_csv: Callable[..., Path]) -> None:
    folder = write_csv([("1.2.", "1122")])
    (folder / "test.csv").unlink()
    with pytest.raises(DataError, match=r"test\.csv: no such file\n.*next: put train\.csv"), opened(str(folder)):
        pass


def test_a_hub_that_is_not_there_says_how_to_go_on_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with (
        pytest.raises(DataError, match=r"set data\.path to the folder they are in"),
        opened("hf://datasets/nobody/none"),
    ):
        pass


def test_a_bucket_that_refuses_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=r"s3://bucket/train\.csv: cannot be read .*\n.*AWS_ENDPOINT_URL"):
        download("s3://bucket/train.csv", tmp_path / "train.csv")
    with pytest.raises(StoreError, match=r"s3://bucket/deep/train\.csv"), opened("s3://bucket/deep/"):
        pass
    assert list(tmp_path.iterdir()) == []
