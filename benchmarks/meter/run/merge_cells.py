"""Merging two measurements of the same commit, cell by cell.

In: the contents of two result files of asv, and the notes beside them. Out: one of each. For every cell the
better side wins: a number over a failure or a recorded skip, these over nothing, and among equals the newer;
a tie keeps the target's. So merging is idempotent, and a cell that the source lacks stays as it is.
"""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.meter.run.plan import Cell
from benchmarks.meter.run.results import outcome, ran

Note = Mapping[str, Any]

_VERSIONS = "versions"
_OF_THE_BENCHMARK = ("params", "version", "started_at", "duration", "profile")


@dataclass(frozen=True)
class Measured:
    """A result file and its notes, as they were read from JSON."""

    results: Mapping[str, Any]
    notes: Sequence[Note] = ()


@dataclass(frozen=True)
class _Row:
    """What a file holds of one benchmark.

    `whole` are the columns of the benchmark, `cells` the others, by column and by cell; `noted` are the
    records of the cells.
    """

    whole: dict[str, Any]
    cells: dict[tuple[str, ...], dict[str, Any]]
    noted: dict[Cell, Note] = field(default_factory=dict)

    @property
    def started_at(self) -> int:
        return self.whole["started_at"] or 0


def merge(target: Measured, source: Measured) -> Measured:
    """The target with what is better in the source; neither is changed.

    Args:
        target: a result file's contents.
        source: those of another one, of the same commit, machine and environment.
    """
    ours, theirs = _rows(target), _rows(source)
    columns = target.results["result_columns"]
    rows: dict[str, _Row] = {}
    from_source: set[Cell] = set()
    for name in {**ours, **theirs}:
        rows[name], won = _merge_rows(name, ours.get(name), theirs.get(name), columns)
        from_source |= won
    newer = _newest(theirs) > _newest(ours)
    first, second = (source, target) if newer else (target, source)
    durations = {**second.results["durations"], **first.results["durations"]}
    results = {name: _to_list(row, columns) for name, row in rows.items()}
    merged = {**target.results, "results": results, "durations": durations}
    return Measured(merged, _merge_notes(target, source, from_source, rows, newer=newer))


def _rows(measured: Measured) -> dict[str, _Row]:
    noted = ran(measured.notes)
    columns = measured.results["result_columns"]
    rows = {}
    for name, listed in measured.results["results"].items():
        entries = dict(itertools.zip_longest(columns, listed))
        whole = {column: entries.pop(column) for column in _OF_THE_BENCHMARK}
        whole["params"] = whole["params"] or []
        grid = list(itertools.product(*whole["params"]))
        by_column = {column: values or [None] * len(grid) for column, values in entries.items()}
        cells = {
            cell: dict(zip(by_column, values, strict=True))
            for cell, values in zip(grid, zip(*by_column.values(), strict=True), strict=True)
        }
        current = {cell: note for cell, note in noted.items() if note["version"] == whole["version"]}
        rows[name] = _Row(whole, cells, current)
    return rows


def _to_list(row: _Row, columns: Sequence[str]) -> list[Any]:
    listed = [
        row.whole[column]
        if column in row.whole
        else _compressed([row.cells[cell][column] for cell in itertools.product(*row.whole["params"])])
        for column in columns
    ]
    while listed and listed[-1] is None:
        listed.pop()
    return listed


def _compressed(values: list[Any]) -> list[Any] | None:
    return None if all(value is None for value in values) else values


def _merge_rows(
    name: str, ours: _Row | None, theirs: _Row | None, columns: Sequence[str]
) -> tuple[_Row, set[Cell]]:
    """The merged row, and the cells that come from the source."""
    if theirs is None:
        return ours, set()
    everything = {Cell(name, params) for params in theirs.cells}
    if ours is None:
        return theirs, everything
    newer = theirs.started_at > ours.started_at
    if not _comparable(ours, theirs):
        return (theirs, everything) if newer else (ours, set())
    axes = zip(ours.whole["params"], theirs.whole["params"], strict=True)
    params = [list(dict.fromkeys([*our_values, *their_values])) for our_values, their_values in axes]
    cells, won = {}, set()
    for combination in itertools.product(*params):
        wins = _standing(theirs, name, combination) > _standing(ours, name, combination)
        cells[combination] = (theirs if wins else ours).cells.get(combination) or _not_run(columns)
        won |= {Cell(name, combination)} if wins else set()
    first, second = (theirs, ours) if newer else (ours, theirs)
    whole = {column: first.whole[column] or second.whole[column] for column in _OF_THE_BENCHMARK}
    return _Row({**whole, "params": params}, cells), won


def _comparable(ours: _Row, theirs: _Row) -> bool:
    same_axes = len(ours.whole["params"]) == len(theirs.whole["params"])
    return same_axes and ours.whole["version"] == theirs.whole["version"]


def _standing(row: _Row, name: str, params: tuple[str, ...]) -> tuple[int, int]:
    """How good what a row holds of a cell is: (0, 0) for nothing, and the newer the better."""
    if params not in row.cells:
        return 0, 0
    note = row.noted.get(Cell(name, params), {})
    found = outcome(row.cells[params]["result"])
    if found == "n/a" and note.get("outcome") != "n/a":
        return 0, 0
    return 2 if found == "measured" else 1, note.get("started_at", row.started_at)


def _not_run(columns: Sequence[str]) -> dict[str, Any]:
    return {**dict.fromkeys(set(columns) - set(_OF_THE_BENCHMARK)), "result": math.nan}


def _newest(rows: Mapping[str, _Row]) -> int:
    return max((row.started_at for row in rows.values()), default=0)


def _merge_notes(
    target: Measured, source: Measured, from_source: set[Cell], rows: Mapping[str, _Row], *, newer: bool
) -> list[Note]:
    """The notes of each cell from the side that its value is from; others from both, the newer side's last.

    Args:
        target: with its notes.
        source: with its notes.
        from_source: the cells whose values are the source's.
        rows: the merged rows.
        newer: True if the source is, as a whole, the newer one.
    """
    known = {Cell(name, params) for name, row in rows.items() for params in row.cells}
    ours = [noted for noted in _with_versions(target.notes) if _cell(noted[0]) not in from_source]
    theirs = [
        noted
        for noted in _with_versions(source.notes)
        if _cell(noted[0]) in from_source or _cell(noted[0]) not in known
    ]
    there = {json.dumps(noted) for noted in ours}
    added = list({text: noted for noted in theirs if (text := json.dumps(noted)) not in there}.values())
    return _with_lines_of_versions([*ours, *added] if newer else [*added, *ours])


def _with_versions(notes: Iterable[Note]) -> Iterator[tuple[Note, Note | None]]:
    """Each note with the line of versions that holds for it."""
    versions = None
    for note in notes:
        if note["kind"] == _VERSIONS:
            versions = note
        else:
            yield note, versions


def _with_lines_of_versions(noted: Iterable[tuple[Note, Note | None]]) -> list[Note]:
    """The inverse; notes of the same versions end up together."""
    by_versions: dict[str, list[Note]] = {}
    for note, versions in noted:
        by_versions.setdefault(json.dumps(versions), [versions] if versions else []).append(note)
    # What has no line of versions must come before the first one.
    return [note for key in sorted(by_versions, key=lambda key: key != "null") for note in by_versions[key]]


def _cell(note: Note) -> Cell | None:
    if "benchmark" in note and "params" in note:
        return Cell(note["benchmark"], tuple(note["params"]))
    return None
