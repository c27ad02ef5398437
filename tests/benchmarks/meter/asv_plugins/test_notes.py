import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.meter.asv_plugins.notes import NOTES_VARIABLE, note

ROOT = Path(__file__).parents[4]
WRITER = """
import sys
from benchmarks.meter.asv_plugins.notes import note
for _ in range(50):
    note("cell", child=int(sys.argv[1]), text=sys.argv[1] * 10_000)
"""


@pytest.fixture
def notes_file(tmp_path, monkeypatch):
    path = tmp_path / "notes.jsonl"
    monkeypatch.setenv(NOTES_VARIABLE, str(path))
    return path


def test_each_note_is_a_line_after_those_before(notes_file):
    note("cell", benchmark="suite.time_x", params=["64", "'float32'"], threads=2)
    note("skipped", benchmark="suite.time_x", params=[], reason="out of memory: é")
    assert [json.loads(line) for line in notes_file.read_text().splitlines()] == [
        {"kind": "cell", "benchmark": "suite.time_x", "params": ["64", "'float32'"], "threads": 2},
        {"kind": "skipped", "benchmark": "suite.time_x", "params": [], "reason": "out of memory: é"},
    ]


def test_notes_of_processes_do_not_mix(notes_file):
    """Lines far longer than a pipe's atomic write, from four processes at once."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(child)], cwd=ROOT) for child in range(4)]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    lines = [json.loads(line) for line in notes_file.read_text().splitlines()]
    assert len(lines) == 200
    assert all(line["text"] == str(line["child"]) * 10_000 for line in lines)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_and_nothing_written(notes_file, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        note("pair", ratio=value)
    assert not notes_file.exists()


def test_without_the_variable_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv(NOTES_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    note("cell", benchmark="suite.time_x")
    assert list(tmp_path.iterdir()) == []
