"""Merging two measurements of the same commit, cell by cell.

In: the contents of two result files of asv, and the notes beside them. Out: the merged contents and notes.
For each cell the better side wins: a number beats a failure or a recorded skip, these beat a cell that was
not run, and of two equals the newer wins. If they are equally old, the target's stays. So merging twice is
the same as merging once, and a cell that the source lacks stays as it is.
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
    """The contents of a result file, and its notes."""

    results: Mapping[str, Any]
    notes: Sequence[Note] = ()


@dataclass(frozen=True)
class _BenchmarkRow:
    """What a file holds about one benchmark.

    Attributes:
        whole: the columns that have one entry for the benchmark.
        cells: the other columns, by the parameters of each cell and by column.
        noted: the records of the cells.
    """

    whole: dict[str, Any]
    cells: dict[tuple[str, ...], dict[str, Any]]
    noted: dict[Cell, Note] = field(default_factory=dict)

    @property
    def started_at(self) -> int:
        return int(self.whole["started_at"] or 0)


def merge(target: Measured, source: Measured) -> Measured:
    """Return the target with the cells that are better in the source; neither is changed.

    Args:
        target: the contents of a result file.
        source: those of another file, of the same commit, machine and environment.
    """
    ours, theirs = _rows(target), _rows(source)
    columns = target.results["result_columns"]
    rows: dict[str, _BenchmarkRow] = {}
    from_source: set[Cell] = set()
    for name in {**ours, **theirs}:
        if name not in theirs:
            rows[name] = ours[name]
            continue
        rows[name], won = _merge_rows(name, ours.get(name), theirs[name], columns)
        from_source |= won
    newer = _newest(theirs) > _newest(ours)
    first, second = (source, target) if newer else (target, source)
    durations = {**second.results["durations"], **first.results["durations"]}
    results = {name: _to_list(row, columns) for name, row in rows.items()}
    merged = {**target.results, "results": results, "durations": durations}
    return Measured(merged, _merge_notes(target, source, from_source, rows, newer=newer))


def _rows(measured: Measured) -> dict[str, _BenchmarkRow]:
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
        rows[name] = _BenchmarkRow(whole, cells, current)
    return rows


def _to_list(row: _BenchmarkRow, columns: Sequence[str]) -> list[Any]:
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
    name: str, ours: _BenchmarkRow | None, theirs: _BenchmarkRow, columns: Sequence[str]
) -> tuple[_BenchmarkRow, set[Cell]]:
    """The merged row, and the cells that come from the source."""
    everything = {Cell(name, params) for params in theirs.cells}
    if ours is None:
        return theirs, everything
    newer = theirs.started_at > ours.started_at
    if not _comparable(ours, theirs):
        return (theirs, everything) if newer else (ours, set())
    axes = zip(ours.whole["params"], theirs.whole["params"], strict=True)
    params = [list(dict.fromkeys([*our_values, *their_values])) for our_values, their_values in axes]
    cells: dict[tuple[str, ...], dict[str, Any]] = {}
    won: set[Cell] = set()
    for combination in itertools.product(*params):
        wins = _standing(theirs, name, combination) > _standing(ours, name, combination)
        cells[combination] = (theirs if wins else ours).cells.get(combination) or _not_run(columns)
        won |= {Cell(name, combination)} if wins else set()
    first, second = (theirs, ours) if newer else (ours, theirs)
    whole = {column: first.whole[column] or second.whole[column] for column in _OF_THE_BENCHMARK}
    return _BenchmarkRow({**whole, "params": params}, cells), won


def _comparable(ours: _BenchmarkRow, theirs: _BenchmarkRow) -> bool:
    same_axes = len(ours.whole["params"]) == len(theirs.whole["params"])
    return same_axes and ours.whole["version"] == theirs.whole["version"]


def _standing(row: _BenchmarkRow, name: str, params: tuple[str, ...]) -> tuple[int, int]:
    """The rank of a cell in a row, by outcome and then by time; (0, 0) if the cell was not run."""
    if params not in row.cells:
        return 0, 0
    note = row.noted.get(Cell(name, params), {})
    found = outcome(row.cells[params]["result"])
    if found == "n/a" and note.get("outcome") != "n/a":
        return 0, 0
    return 2 if found == "measured" else 1, note.get("started_at", row.started_at)


def _not_run(columns: Sequence[str]) -> dict[str, Any]:
    return {**dict.fromkeys(set(columns) - set(_OF_THE_BENCHMARK)), "result": math.nan}


def _newest(rows: Mapping[str, _BenchmarkRow]) -> int:
    return max((row.started_at for row in rows.values()), default=0)


def _merge_notes(
    target: Measured,
    source: Measured,
    from_source: set[Cell],
    rows: Mapping[str, _BenchmarkRow],
    *,
    newer: bool,
) -> list[Note]:
    """The notes of each cell from the side of its value, then other notes from both, the newer side's last.

    Args:
        target: its notes are merged into.
        source: its notes are merged.
        from_source: the cells whose values come from the source.
        rows: the merged rows.
        newer: whether the source as a whole is newer than the target.
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
    """The inverse of `_with_versions`; notes of the same versions are put together."""
    by_versions: dict[str, list[Note]] = {}
    for note, versions in noted:
        by_versions.setdefault(json.dumps(versions), [versions] if versions else []).append(note)
    # notes without versions have to come before the first line of versions
    return [note for key in sorted(by_versions, key=lambda key: key != "null") for note in by_versions[key]]


def _cell(note: Note) -> Cell | None:
    if "benchmark" in note and "params" in note:
        return Cell(note["benchmark"], tuple(note["params"]))
    return None
