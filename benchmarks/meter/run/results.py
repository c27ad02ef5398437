"""The result file of one commit, added to cell by cell.

In: asv's `Results` with what is stored, and what running a cell gave. Out: the same file, saved often, and a
record of every cell that was run. Values and samples are stored as `asv run --record-samples` stores them;
the records are notes of the kind "ran" beside the file, because a value that is missing (NaN) does not tell
a cell that the suite skipped from one that was not run yet.
"""

import itertools
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from asv import util
from asv.results import Results
from asv.runner import BenchmarkResult
from asv_runner.statistics import get_err

from benchmarks.meter.asv_plugins.records import inbox
from benchmarks.meter.run.plan import Cell, Record, Step

_RAN = "ran"
# Saving takes at most a tenth of the time, but no more than a second's measurements are ever at stake.
_MEASURED_PER_SAVING = 10.0
_MOST_UNSAVED_S = 1.0


class CommitResults:
    """What is measured of one commit, in memory and in its file.

    Args:
        results: asv's object, with what is stored already loaded.
        folder: the root of the results.
        benchmarks: asv's `Benchmarks`.
        notes: the notes beside the stored results.
        uninterrupted: holds back Ctrl-C while the file is written.
    """

    def __init__(
        self,
        results: Results,
        folder: str,
        benchmarks: Any,
        notes: Iterable[Mapping[str, Any]],
        uninterrupted: AbstractContextManager,
    ):
        self._results = results
        self._folder = folder
        self._uninterrupted = uninterrupted
        self._grids: dict[str, _Grid] = {}
        self._unsaved_s = 0.0
        self._saving_s = 0.0
        self.records = read_records(results, benchmarks, notes)

    def number(self, step: Step) -> int | None:
        """How many calls made one sample in the earlier rounds of the cell; None in its first."""
        if step.round == 1:
            return None
        stats = self._grid(step.benchmark).cell(self._results.get_result_stats, step.cell)
        return stats.get("number") if stats else None

    def add(self, step: Step, result: BenchmarkResult, started_at: datetime, seconds: float) -> Record:
        """Add what one round of a cell gave, and save it unless saving has become slow.

        Args:
            step: what was run.
            result: asv's result of that cell alone: lists of one.
            started_at: when it was started.
            seconds: how long it ran.
        """
        before = self.records.get(step.cell) if step.round > 1 else None
        record = Record(outcome(result.result[0]), step.round, seconds + (before.seconds if before else 0))
        self.records[step.cell] = record
        grid = self._grid(step.benchmark)
        self._results.add_result(
            grid.benchmark,
            grid.spread(step.cell, result),
            started_at=started_at,
            duration=sum(
                r.seconds for cell, r in self.records.items() if cell.benchmark == step.cell.benchmark
            ),
            record_samples=True,
            append_samples=step.round > 1,
            selected_idx={grid.positions[step.cell.params]},
        )
        inbox().add(
            _RAN,
            benchmark=step.cell.benchmark,
            params=step.cell.params,
            version=step.benchmark["version"],
            outcome=record.outcome,
            rounds=record.rounds,
            seconds=round(record.seconds, 3),
            started_at=util.datetime_to_js_timestamp(started_at),
        )
        self._unsaved_s += seconds
        if self._unsaved_s >= min(_MOST_UNSAVED_S, _MEASURED_PER_SAVING * self._saving_s):
            self.save()
        return record

    def describe(self, step: Step) -> str:
        """The value of a cell with its error, as asv prints them."""
        grid = self._grid(step.benchmark)
        value = grid.cell(self._results.get_result_value, step.cell)
        stats = grid.cell(self._results.get_result_stats, step.cell)
        return util.human_value(value, step.benchmark["unit"], err=get_err(value, stats) if stats else None)

    def cache_seconds(self, key: str) -> float | None:
        """How long a `setup_cache` took when it was last called; None if it is not known."""
        return self._results.duration.get(f"<setup_cache {key}>")

    def set_build_seconds(self, seconds: float) -> None:
        """Store how long the build took."""
        self._results.set_build_duration(seconds)

    def set_cache_seconds(self, seconds: Mapping[str, float]) -> None:
        """Store how long each `setup_cache` took."""
        for key, each in seconds.items():
            self._results.set_setup_cache_duration(key, each)

    def save(self) -> None:
        """Write the file, if there is anything new."""
        if not self._unsaved_s:
            return
        started = time.monotonic()
        with self._uninterrupted:
            self._results.save(self._folder)
            self._unsaved_s = 0.0
        self._saving_s = time.monotonic() - started

    def _grid(self, benchmark: Mapping[str, Any]) -> "_Grid":
        name = benchmark["name"]
        if name not in self._grids:
            self._grids[name] = _Grid(widened(self._results, benchmark))
        return self._grids[name]


class _Grid:
    """The combinations of a benchmark's parameters that its stored results are for, in their order."""

    def __init__(self, benchmark: Mapping[str, Any]):
        self.benchmark = benchmark
        self.positions = {params: i for i, params in enumerate(itertools.product(*benchmark["params"]))}

    def cell(self, getter, cell: Cell):
        """One cell's entry of the list that asv's getter returns."""
        if self.benchmark["name"] not in getter.__self__.get_all_result_keys():
            return None
        return getter(self.benchmark["name"], self.benchmark["params"])[self.positions[cell.params]]

    def spread(self, cell: Cell, result: BenchmarkResult) -> BenchmarkResult:
        """The result of one cell as one of the whole grid, not run elsewhere."""
        empty = _not_run(len(self.positions))
        position = self.positions[cell.params]
        for column in ("result", "samples", "number"):
            getattr(empty, column)[position] = getattr(result, column)[0]
        return empty._replace(errcode=result.errcode, stderr=result.stderr)


def read_records(results: Results, benchmarks: Any, notes: Iterable[Mapping[str, Any]]) -> dict[Cell, Record]:
    """What is stored of the cells of today's benchmarks and versions.

    A number is measured, whoever wrote it. A missing value counts only with a note that says why: without
    one, NaN is "not run" and None is either a failure under plain asv or a cell that its grid once lacked.
    """
    noted = ran(notes)
    records = {}
    for name in results.get_result_keys(benchmarks):
        benchmark = benchmarks[name]
        grid = itertools.product(*benchmark["params"])
        for params, value in zip(grid, results.get_result_value(name, benchmark["params"]), strict=True):
            cell = Cell(name, params)
            line = noted.get(cell, {})
            if line.get("version") == benchmark["version"] and line["outcome"] == outcome(value):
                records[cell] = Record(line["outcome"], line["rounds"], line["seconds"])
            elif outcome(value) == "measured":
                records[cell] = Record("measured", int(benchmark.get("rounds", 1)), 0.0)
    return records


def ran(notes: Iterable[Mapping[str, Any]]) -> dict[Cell, Mapping[str, Any]]:
    """The newest record of each cell among the notes."""
    return {Cell(line["benchmark"], tuple(line["params"])): line for line in notes if line["kind"] == _RAN}


def outcome(value: Any) -> str:
    """What a stored value means, if its cell was run: None is a failure, NaN a cell that was skipped."""
    if value is None:
        return "failed"
    return "n/a" if util.is_nan(value) else "measured"


def widened(results: Results, benchmark: Mapping[str, Any]) -> Mapping[str, Any]:
    """The benchmark on all parameters that it has now or had when the stored cells were measured.

    asv keeps a stored cell only if its parameters are on the grid of the run that adds to the file. So the
    stored grid is widened first, its new cells being "not run"; results of another version, or of other
    axes, are dropped, as asv does.
    """
    name = benchmark["name"]
    if name not in results.get_all_result_keys() or results.benchmark_version[name] != benchmark["version"]:
        return benchmark
    stored = results.get_result_params(name)
    if len(stored) != len(benchmark["params"]):
        results.remove_result(name)
        return benchmark
    params = [list(dict.fromkeys([*now, *old])) for now, old in zip(benchmark["params"], stored, strict=True)]
    wide = {**benchmark, "params": params}
    known = set(itertools.product(*stored))
    grid = list(itertools.product(*params))
    results.add_result(
        wide,
        _not_run(len(grid)),
        started_at=datetime.fromtimestamp(results.started_at[name] / 1000, UTC),
        duration=results.duration.get(name),
        record_samples=True,
        selected_idx={i for i, cell in enumerate(grid) if cell not in known},
    )
    return wide


def _not_run(count: int) -> BenchmarkResult:
    return BenchmarkResult([math.nan] * count, [None] * count, [None] * count, 0, "", None)
