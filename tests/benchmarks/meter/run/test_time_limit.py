"""What a run starts before its time is up."""

import json

import pytest

from tests.benchmarks.meter.run.project import (
    PAIRED,
    REGISTER,
    SUITE,
)

pytestmark = pytest.mark.slow


def note_an_hour(project, params):
    """Have the records say that a cell took an hour."""
    (notes,) = project.path.glob("results/*/*.notes.jsonl")
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    changed = [{**line, "seconds": 3600} if line.get("params") == params else line for line in lines]
    notes.write_text("".join(f"{json.dumps(line)}\n" for line in changed))


def test_time_limit_starts_no_cell_that_would_not_be_done(project):
    printed = project.run("HEAD", "--bench", "Grid", "--time-limit", "0", code=3)
    assert "0 of 6 cells are done" in printed
    assert "6 are left at the time limit: the same command goes on with them" in printed
    assert not project.calls()
    project.run("HEAD", "--bench", "Grid", code=2)
    note_an_hour(project, ["2", "'b'"])
    project.calls()
    project.run("HEAD", "--bench", "Grid", "--again", "--time-limit", "30", code=3)
    assert set(project.calls()) == {"1a", "1b", "1c", "2a"}


def test_time_limit_reckons_with_a_minute_for_what_was_never_run(project):
    project.run("HEAD", "--bench", "Alone")
    project.calls()
    project.run("HEAD", "--bench", "Late", "--time-limit", "0.9", code=3)
    assert project.calls() == {"before": 1}, "the first is tried, or nothing would ever be measured"
    project.run("HEAD", "--bench", "Late", "--time-limit", "0.9", code=3)
    assert project.calls() == {"gate": 1}


def test_time_limit_reckons_with_a_setup_cache_that_was_never_called(project):
    project.run("HEAD", "--bench", "Alone|Cached")
    (results,) = project.path.glob("results/*/*-borrowed-*.json")
    stored = json.loads(results.read_text())
    (cache,) = (name for name in stored["durations"] if name.startswith("<setup_cache"))
    project.calls()
    project.run("HEAD", "--bench", "Alone|Cached", "--again", "--time-limit", "0.9")
    assert project.calls() == {"alone": 1, "setup_cache": 1, "cached1": 1, "cached2": 1}
    del stored["durations"][cache]
    results.write_text(json.dumps(stored))
    project.run("HEAD", "--bench", "Alone|Cached", "--again", "--time-limit", "0.9", code=3)
    assert project.calls() == {"alone": 1}


@pytest.mark.slow
def test_time_limit_does_not_part_what_is_measured_together(project):
    (project.path / "benchmarks" / "__init__.py").write_text(REGISTER)
    (project.path / "benchmarks" / "cells.py").write_text(f"{SUITE}\n{PAIRED}")
    printed = project.run("HEAD", "--bench", "Variants", "--time-limit", "0.9", code=3)
    assert "3 of 6 cells are done" in printed
    assert project.calls() == {"group1": 1}
    note_an_hour(project, ["1", "'b'"])
    printed = project.run("HEAD", "--bench", "Variants", "--again", "--time-limit", "0.9", code=3)
    assert "3 of 6 cells are done" in printed, "whatever its time, the hour was spent with the first variant"
