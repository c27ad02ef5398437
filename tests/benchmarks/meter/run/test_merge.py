"""Merging result files: its algebra on generated files, and the rules one by one."""

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.meter.run.merge_cells import Measured, merge

COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_number", "samples", "profile"]
NAN = math.nan
FAILED = None

cell_values = st.one_of(st.just(FAILED), st.just(NAN), st.floats(0, 10))
times = st.integers(1, 9)


@st.composite
def rows(draw, axes):
    params = [draw(st.lists(st.sampled_from(values), min_size=1, unique=True)) for values in axes]
    results = [draw(cell_values) for _ in itertools.product(*params)]
    samples = [[value] if is_number(value) else None for value in results]
    whole = [draw(st.sampled_from("12")), draw(times), draw(st.floats(0, 1)), None]
    columns = dict(zip(["version", "started_at", "duration", "profile"], whole, strict=True))
    return row(params, results, samples=samples, **columns)


@st.composite
def measured(draw):
    """A result file with two benchmarks, or one, or none, and a note for some of the cells."""
    shapes = {"grid": [("1", "2", "4"), ("'a'", "'b'")], "single": []}
    names = draw(st.sets(st.sampled_from(sorted(shapes))))
    results = {name: draw(rows(shapes[name])) for name in sorted(names)}
    notes = []
    for name, cells in table(results).items():
        version = results[name][COLUMNS.index("version")]
        for params, value in cells.items():
            if draw(st.booleans()):
                notes.append(ran(name, params, value, draw(times), version))
    return Measured(content(results), [{"kind": "versions", "torch": draw(st.sampled_from("xy"))}, *notes])


def row(params, results, *, started_at, version="1", samples=None, duration=None, profile=None):
    listed = {
        "result": None if all(value is None for value in results) else results,
        "params": params,
        "version": version,
        "started_at": started_at,
        "duration": duration,
        "stats_number": [1 if is_number(value) else None for value in results],
        "samples": samples,
        "profile": profile,
    }
    return [listed[column] for column in COLUMNS]


def content(results):
    return {"commit_hash": "c", "result_columns": COLUMNS, "results": results, "durations": {}, "date": 1}


def ran(benchmark, params, value, started_at, version="1"):
    outcome = "failed" if value is None else "n/a" if math.isnan(value) else "measured"
    fields = {"version": version, "outcome": outcome, "rounds": 1, "seconds": 1.0, "started_at": started_at}
    return {"kind": "ran", "benchmark": benchmark, "params": list(params), **fields}


def is_number(value):
    return value is not None and not math.isnan(value)


def table(results):
    """By benchmark and cell: the value."""
    tables = {}
    for name, listed in results.items():
        columns = dict(itertools.zip_longest(COLUMNS, listed))
        grid = list(itertools.product(*columns["params"]))
        tables[name] = dict(zip(grid, columns["result"] or [None] * len(grid), strict=True))
    return tables


def text(measured):
    """As text, NaN is equal to itself."""
    return json.dumps([measured.results, list(measured.notes)], sort_keys=True)


@given(measured(), measured())
def test_merging_again_changes_nothing(target, source):
    once = merge(target, source)
    assert text(merge(once, source)) == text(once)


@given(measured(), measured())
def test_no_cell_that_the_source_lacks_changes(target, source):
    merged, ours, theirs = (
        table(side.results["results"]) for side in (merge(target, source), target, source)
    )
    for name in ours.keys() - other_versions(target, source):
        for params in ours[name].keys() - theirs.get(name, {}).keys():
            assert repr(merged[name][params]) == repr(ours[name][params])


@given(measured(), measured())
def test_each_cell_is_as_good_as_on_the_better_side(target, source):
    merged = table(merge(target, source).results["results"])
    sides = [table(side.results["results"]) for side in (target, source)]
    for name in merged.keys() - other_versions(target, source):
        for params, value in merged[name].items():
            values = [side[name][params] for side in sides if params in side.get(name, {})]
            assert is_number(value) == any(map(is_number, values))
            assert repr(value) in map(repr, [*values, NAN])


@given(measured(), measured())
def test_samples_and_statistics_go_with_their_value(target, source):
    for listed in merge(target, source).results["results"].values():
        columns = dict(itertools.zip_longest(COLUMNS, listed))
        count = math.prod(map(len, columns["params"]))
        results, samples, number = (
            columns[key] or [None] * count for key in ("result", "samples", "stats_number")
        )
        assert samples == [[value] if is_number(value) else None for value in results]
        assert number == [1 if is_number(value) else None for value in results]


def other_versions(target, source):
    """The benchmarks that the two hold of different versions: the newer one stays, as a whole."""
    version = COLUMNS.index("version")
    ours, theirs = target.results["results"], source.results["results"]
    return {name for name in ours.keys() & theirs.keys() if ours[name][version] != theirs[name][version]}


def one_cell(value, started_at, notes=(), **columns):
    return Measured(content({"b": row([["1"]], [value], started_at=started_at, **columns)}), notes)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((1.0, 5), (2.0, 6), 2.0),
        ((1.0, 5), (2.0, 4), 1.0),
        ((1.0, 5), (2.0, 5), 1.0),
        ((1.0, 5), (FAILED, 6), 1.0),
        ((1.0, 5), (NAN, 6), 1.0),
        ((FAILED, 5), (2.0, 4), 2.0),
        ((NAN, 5), (2.0, 4), 2.0),
        ((FAILED, 5), (NAN, 6), FAILED),
        ((NAN, 5), (FAILED, 4), FAILED),
    ],
)
def test_number_beats_failure_beats_nothing_and_newer_beats_older(ours, theirs, expected):
    merged = merge(one_cell(*ours), one_cell(*theirs))
    assert table(merged.results["results"]) == {"b": {("1",): expected}}


def test_recorded_skip_is_an_outcome_and_a_bare_nan_is_not():
    failed = one_cell(FAILED, 5)
    skipped = one_cell(NAN, 6, [ran("b", ["1"], NAN, 6)])
    assert math.isnan(table(merge(failed, skipped).results["results"])["b"]["1",])
    assert table(merge(failed, one_cell(NAN, 6)).results["results"])["b"]["1",] is FAILED


def test_time_of_a_cell_is_its_own_and_not_that_of_its_file():
    """The target was added to last, but this cell is older than the source's."""
    target = one_cell(1.0, 9, [ran("b", ["1"], 1.0, 3)])
    assert table(merge(target, one_cell(2.0, 5)).results["results"])["b"]["1",] == 2.0


def test_newer_version_stays_as_a_whole():
    old = Measured(content({"b": row([["1", "2"]], [1.0, 2.0], started_at=5)}))
    new = one_cell(3.0, 6, version="2")
    assert table(merge(old, new).results["results"]) == {"b": {("1",): 3.0}}
    assert table(merge(new, old).results["results"]) == {"b": {("1",): 3.0}}


def test_grids_are_united():
    ours = Measured(content({"b": row([["1", "2"], ["'a'"]], [1.0, 2.0], started_at=5)}))
    theirs = Measured(content({"b": row([["2", "4"], ["'b'"]], [3.0, 4.0], started_at=6)}))
    (merged,) = merge(ours, theirs).results["results"].values()
    assert merged[COLUMNS.index("params")] == [["1", "2", "4"], ["'a'", "'b'"]]
    assert [None if math.isnan(value) else value for value in merged[0]] == [1.0, None, 2.0, 3.0, None, 4.0]


def test_notes_go_with_their_cell_and_keep_their_versions():
    def box(torch, cell, value, started_at):
        notes = [{"kind": "versions", "torch": torch}, ran("b", [cell], value, started_at)]
        return Measured(content({"b": row([["1", "2"]], [value, NAN], started_at=started_at)}), notes)

    ours, theirs = box("old", "1", 1.0, 5), box("new", "1", 2.0, 6)
    assert merge(ours, theirs).notes == theirs.notes
    assert merge(theirs, ours).notes == theirs.notes
    other = Measured(
        content({"b": row([["1", "2"]], [NAN, 3.0], started_at=6)}), box("new", "2", 3.0, 6).notes
    )
    assert merge(ours, other).notes == [*ours.notes, *other.notes]
