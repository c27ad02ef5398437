"""Calibration data by the real package `datasets`, from folders: no network is used."""

import json

import pytest

from perfmamba.errors import InputError
from perfmamba.pruning.data_sets import open_data_set

datasets = pytest.importorskip(
    "datasets", reason="the package datasets is not installed: pip install 'perfmamba[data]'"
)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("column", ["input_ids", "text"])
def test_a_folder_is_streamed_and_named_without_its_path(tmp_path, column):
    values = [[1, 2, 3], [], [4]] if column == "input_ids" else ["abc", "", "d"]
    write(tmp_path / "rows" / "train.jsonl", [{column: value, "other": 0} for value in [*values, None]])
    for source in ("hub:rows", "hub:./rows", f"hub:{tmp_path / 'rows'}", "hub:rows:default:train"):
        found = open_data_set(source)
        assert (found.column, list(found.values)) == (column, values)
        assert found.name.startswith("hub:rows")
        assert str(tmp_path) not in found.name


def test_a_split_can_be_named_and_a_path_may_hold_a_colon(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / "a:b" / f"{split}.jsonl", [{"text": split}])
    assert list(open_data_set("hub:a:b").values) == ["train"]
    named = open_data_set(f"hub:{tmp_path}/a:b::validation")
    assert (named.name, list(named.values)) == ("hub:a:b::validation", ["validation"])


def test_text_files_are_read_by_lines(tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.txt").write_text("first\nsecond\n", encoding="utf-8")
    assert list(open_data_set("hub:./pages").values) == ["first", "second"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": 5}, "hub:rows: the column text must hold text; one is 5"),
        ({"input_ids": "ab"}, "the column input_ids must hold lists of integers; one is 'ab'"),
        ({"input_ids": [0.5]}, r"lists of integers; one is \[0.5\]"),
        ({"input_ids": [[1], [2]]}, r"lists of integers; one is \[\[1\], \[2\]\]"),
        ({"question": "a", "answer": "b"}, "hub:rows has question, answer; a column input_ids or text"),
    ],
)
def test_columns_that_hold_something_else_are_refused(tmp_path, row, message):
    write(tmp_path / "rows" / "train.jsonl", [row])
    with pytest.raises(InputError, match=message):
        list(open_data_set("hub:rows").values)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("hub:rows:large", "BuilderConfig 'large' not found"),
        ("hub:rows::test", r"Bad split: test. Available splits: \['train'\]"),
        ("hub:./absent", "Repo id must use alphanumeric"),
        ("hub:empty", "Couldn't find any data file|doesn't contain any data files"),
        ("hub:damaged", "."),
    ],
)
def test_what_datasets_cannot_get_is_one_line(tmp_path, source, reason):
    write(tmp_path / "rows" / "train.jsonl", [{"text": "a"}])
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=f"cannot get the data set {source}: {reason}") as raised:
        open_data_set(source)
    assert "\n" not in str(raised.value)
    assert "or give a file" in str(raised.value)
