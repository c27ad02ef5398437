"""Runs that are killed, interrupted, or started twice."""

import json
import select
import signal

import pytest

from tests.benchmarks.meter.run.project import (
    DEADLINE_S,
    run_at_the_gate,
    values,
)

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_run_twice_when_a_run_is_killed(project):
    project.run("HEAD", "--bench", "Grid", code=2)
    with run_at_the_gate(project, "Grid|Late") as (process, writer):
        process.kill()
        end_of_reader = select.poll()
        end_of_reader.register(writer, 0)
        assert end_of_reader.poll(DEADLINE_S * 1000), "the cell in flight is ended as well"
    (killed,) = project.stored().values()
    assert values(killed, "Grid.track_samples") == [11, "n/a", None, 21, 21, 21]
    assert values(killed, "Late.track_gate") == [1, "n/a", "n/a"]
    project.calls()
    project.run("HEAD", "--bench", "Grid|Late", code=2)
    assert project.calls() == {"gate": 1, "after": 1}
    (resumed,) = project.stored().values()
    assert values(resumed, "Late.track_gate") == [1, 1, 1]
    assert json.dumps(resumed["cells.Grid.track_samples"]) == json.dumps(killed["cells.Grid.track_samples"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_saves_all_that_is_done_and_is_resumed(project, number):
    with run_at_the_gate(project, "Grid|Late") as (process, _):
        process.send_signal(number)
        printed, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + number
    assert "7 of 9 cells are done" in printed
    assert "2 are left: the same command goes on with them" in printed
    project.calls()
    project.run("HEAD", "--bench", "Grid|Late", code=2)
    assert project.calls() == {"gate": 1, "after": 1}


def test_run_can_be_interrupted_while_the_suites_are_imported(project):
    with run_at_the_gate(project, "Grid", "IMPORT_GATE") as (process, _):
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "0 of 6 cells are done" in printed


def test_second_run_beside_the_first_is_refused(project):
    with run_at_the_gate(project, "Late") as (first, _):
        assert "another run is active" in project.run("HEAD", code=2)
        first.terminate()
