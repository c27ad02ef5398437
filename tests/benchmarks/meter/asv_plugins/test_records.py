"""What is kept beside asv's results, with asv's own objects and commands."""

import json
import logging
import os
from datetime import UTC, datetime

import pytest
from asv import util
from asv.benchmarks import Benchmarks
from asv.commands import show
from asv.results import Results, iter_results
from asv.runner import BenchmarkResult

from benchmarks.meter.asv_plugins import records
from benchmarks.meter.asv_plugins.notes import NOTES_VARIABLE, note
from benchmarks.meter.asv_plugins.versions import versions

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCAN = {"name": "scan.cudatime_scan", "version": "1", "params": [["64", "128"]], "param_names": ["seqlen"]}
CELL = {"benchmark": "scan.cudatime_scan", "params": ["64"]}


@pytest.fixture(autouse=True)
def plugged(monkeypatch):
    """The plugin, for one test; the inbox is empty."""
    monkeypatch.setenv(NOTES_VARIABLE, "replaced by the plugin")
    for owner, name in [
        (util, "write_json"),
        (Results, "save"),
        (Results, "rm"),
        (Benchmarks, "save"),
        (Benchmarks, "load"),
        (show, "format_benchmark_result"),
    ]:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    records.setup()
    records.inbox().clear()


def results(commit=COMMIT, machine="box"):
    return Results({"machine": machine}, {}, commit, 1, "3.11", "borrowed-py3.11", {})


def measured(*seconds, **named):
    """Results of a run of SCAN."""
    done = results(**named)
    samples = [[s] * 3 for s in seconds]
    outcome = BenchmarkResult(list(seconds), samples, [1] * len(seconds), 0, "", None)
    done.add_result(SCAN, outcome, datetime.now(UTC), duration=1.0)
    return done


def saved(folder, done):
    """The result file, after saving."""
    folder.joinpath(done.params["machine"]).mkdir(exist_ok=True)
    done.save(folder)
    (file,) = folder.glob(f"{done.params['machine']}/{done.commit_hash[:8]}-*.json")
    return file


def kinds(file):
    return [line["kind"] for line in records.read_notes(file)]


def test_notes_of_a_run_are_saved_beside_its_results_after_the_versions(tmp_path):
    note("cell", **CELL, clock="cuda events", marked=False)
    file = saved(tmp_path, measured(1.0, 2.0))
    assert records.sidecar(file).name == f"{COMMIT[:8]}-borrowed-py3.11.notes.jsonl"
    assert records.read_notes(file) == [
        {"kind": "versions", **versions()},
        {"kind": "cell", **CELL, "clock": "cuda events", "marked": False},
    ]


def test_notes_of_this_process_are_saved_among_those_of_benchmarks_as_they_came(tmp_path):
    note("cell", **CELL)
    records.inbox().add("ran", **CELL, outcome="measured")
    other = {**CELL, "params": ["128"]}
    note("cell", **other)
    records.inbox().add("ran", **other, outcome="measured")
    file = saved(tmp_path, measured(1.0, 2.0))
    assert kinds(file) == ["versions", "cell", "ran", "cell", "ran"]
    assert [line["params"] for line in records.read_notes(file)[1:]] == [["64"]] * 2 + [["128"]] * 2
    assert records.inbox().lines() == []


def test_a_note_of_this_process_holds_what_json_can(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.inbox().add("ran", **CELL, seconds=float("nan"))
    assert kinds(saved(tmp_path, measured(1.0, 2.0))) == ["versions"]


def test_notes_go_to_the_results_that_are_saved_next_and_to_no_others(tmp_path):
    note("cell", **CELL, clock="first")
    first = saved(tmp_path, measured(1.0, 2.0))
    note("cell", **CELL, clock="second")
    second = saved(tmp_path, measured(1.0, 2.0, commit=COMMIT[::-1]))
    assert [records.read_notes(file)[-1]["clock"] for file in (first, second)] == ["first", "second"]


def test_a_result_measured_without_notes_has_its_versions(tmp_path):
    assert kinds(saved(tmp_path, measured(1.0, 2.0))) == ["versions"]


def test_saving_without_measuring_says_nothing_of_this_machine(tmp_path):
    """As `asv rm` does, maybe for results of another machine."""
    assert not records.sidecar(saved(tmp_path, results())).exists()


def test_the_newest_note_of_a_cell_replaces_the_older_one(tmp_path):
    done = measured(1.0, 2.0)
    other = {**CELL, "params": ["128"]}
    for line in ({**CELL, "clock": "old"}, {**other, "clock": "kept"}, {**CELL, "clock": "new"}):
        note("cell", **line)
        file = saved(tmp_path, done)
    assert [line.get("clock") for line in records.read_notes(file)] == [None, "kept", "new"]


def test_a_cell_is_either_measured_or_skipped(tmp_path):
    done = measured(1.0, 2.0)
    note("cell", **CELL)
    file = saved(tmp_path, done)
    note("skipped", **CELL, reason="out of memory")
    saved(tmp_path, done)
    assert kinds(file) == ["versions", "skipped"]
    note("cell", **CELL)
    saved(tmp_path, done)
    assert kinds(file) == ["versions", "cell"]


def test_pairs_are_told_apart_by_baseline_variant_and_measure(tmp_path):
    pairs = [
        {"baseline": "dense", "variant": "pruned", "measure": "time"},
        {"baseline": "dense", "variant": "pruned", "measure": "memory"},
        {"baseline": "dense", "variant": "masked", "measure": "time"},
        {"baseline": "masked", "variant": "pruned", "measure": "time"},
    ]
    for ratio in (0.5, 0.6):
        for pair in pairs:
            note("pair", **CELL, **pair, ratio=ratio)
    file = saved(tmp_path, measured(1.0, 2.0))
    assert [line["ratio"] for line in records.read_notes(file)[1:]] == [0.6] * 4


def test_versions_hold_for_the_lines_after_them(tmp_path, monkeypatch):
    done = measured(1.0, 2.0)
    other = {**CELL, "params": ["128"]}
    for torch, cells in (("2.11", [CELL, other]), ("2.13", [CELL]), ("2.13", [CELL])):
        monkeypatch.setattr(records, "versions", lambda torch=torch: {"torch": torch})
        for cell in cells:
            note("cell", **cell)
        file = saved(tmp_path, done)
    old, first, new, second = records.read_notes(file)
    assert (old["torch"], first["params"]) == ("2.11", ["128"])
    assert (new["torch"], second["params"]) == ("2.13", ["64"])
    note("cell", **other)
    saved(tmp_path, done)
    assert kinds(file) == ["versions", "cell", "cell"]


def test_damaged_lines_stay_as_they_are_with_a_warning(tmp_path, caplog):
    done = measured(1.0, 2.0)
    file = saved(tmp_path, done)
    damage = b'{"kind": "cell", "benchm\n\xff\x00 no text\n[1, 2]\n'
    records.sidecar(file).write_bytes(damage)
    note("cell", **CELL)
    records._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        saved(tmp_path, done)
        assert kinds(file) == ["versions", "cell"]
    assert records.sidecar(file).read_bytes().startswith(damage)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"{records.sidecar(file).name}, line {number}" for number in (1, 2, 3)
    ]


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path, monkeypatch):
    file = saved(tmp_path, measured(1.0, 2.0))
    before = file.read_bytes()
    done = measured(3.0, 4.0)

    def interrupt(*_arguments, **_keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dump", interrupt)
    note("cell", **CELL)
    with pytest.raises(KeyboardInterrupt):
        done.save(tmp_path)
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, records.sidecar(file).name]
    assert records.inbox().path.exists(), "the note waits for the next time"


def test_removing_results_removes_their_notes(tmp_path):
    done = measured(1.0, 2.0)
    note("cell", **CELL)
    file = saved(tmp_path, done)
    done.rm(tmp_path)
    assert list(file.parent.iterdir()) == []


def test_stock_asv_reads_the_results_as_if_nothing_were_beside_them(tmp_path, caplog):
    note("cell", **CELL)
    saved(tmp_path, measured(1.0, 2.0))
    tmp_path.joinpath("box", "machine.json").write_text('{"machine": "box", "version": 1}')
    with caplog.at_level(logging.WARNING):
        (loaded,) = iter_results(str(tmp_path))
    assert loaded.get_result_value("scan.cudatime_scan", SCAN["params"]) == [1.0, 2.0]
    assert caplog.records == []


def test_nothing_tells_who_measured_and_where(tmp_path):
    note("cell", **CELL)
    kept = records.sidecar(saved(tmp_path, measured(1.0, 2.0))).read_text()
    secrets = {str(tmp_path), os.uname().nodename, os.environ.get("USER"), os.environ["HOME"]}
    assert not [secret for secret in secrets if secret and secret in kept]
