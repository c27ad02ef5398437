"""The result file of one commit, to which cells are added one by one.

In: asv's `Results` with what is stored, and the results of cells. Out: the same file, saved often, and a
record of every cell that was run. Values and samples are stored as `asv run --record-samples` stores them.
The records are notes of the kind "ran" beside the file: asv's file has NaN for a cell that the suite skipped
and for a cell that was never run, and the records tell them apart.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from asv import util
from asv.results import Results
from asv.runner import BenchmarkResult
from asv_runner.statistics import get_err

from benchmarks.meter.asv_plugins.records import inbox
from benchmarks.meter.run.plan import Cell, CellRecord, Step

_RAN = "ran"
# Saving takes at most a tenth of the time, but never more than a second of measurements is unsaved.
_MEASURED_PER_SAVING = 10.0
_MOST_UNSAVED_S = 1.0


class CommitResults:
    """The results of one commit, in memory and in their file.

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
        uninterrupted: AbstractContextManager[object],
    ) -> None:
        self._results = results
        self._folder = folder
        self._uninterrupted = uninterrupted
        self._grids: dict[str, _StoredGrid] = {}
        self._unsaved_s = 0.0
        self._saving_s = 0.0
        self.records = read_records(results, benchmarks, notes)

    def number(self, step: Step) -> int | None:
        """Return how many calls made one sample in earlier rounds of the cell; None in its first round."""
        if step.round == 1:
            return None
        stats = self._grid(step.benchmark).stats(step.cell)
        return stats.get("number") if stats else None

    def add(self, step: Step, result: BenchmarkResult, started_at: datetime, seconds: float) -> CellRecord:
        """Add the result of one round of a cell; save the file, unless saving takes too much of the time.

        Args:
            step: which round of which cell.
            result: asv's result of that cell alone, in lists of one.
            started_at: when the round was started.
            seconds: how long it ran.
        """
        before = self.records.get(step.cell) if step.round > 1 else None
        record = CellRecord(
            outcome(result.result[0]), step.round, seconds + (before.seconds if before else 0)
        )
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
        """Return the value of a cell with its error, as asv prints them."""
        grid = self._grid(step.benchmark)
        value, stats = grid.value(step.cell), grid.stats(step.cell)
        error = get_err(value, stats) if stats else None
        return str(util.human_value(value, step.benchmark["unit"], err=error))

    def cache_seconds(self, key: str | None) -> float | None:
        """Return how long a `setup_cache` took in its last call; None if it is not known."""
        seconds: float | None = self._results.duration.get(f"<setup_cache {key}>")
        return seconds

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

    def _grid(self, benchmark: Mapping[str, Any]) -> "_StoredGrid":
        name = benchmark["name"]
        if name not in self._grids:
            self._grids[name] = _StoredGrid(self._results, widened(self._results, benchmark))
        return self._grids[name]


class _StoredGrid:
    """The grid of parameters that the stored results of a benchmark are for, in asv's order."""

    def __init__(self, results: Results, benchmark: Mapping[str, Any]) -> None:
        self._results = results
        self.benchmark = benchmark
        self.positions = {params: i for i, params in enumerate(itertools.product(*benchmark["params"]))}

    def value(self, cell: Cell) -> Any:
        """The stored value of a cell; None if the benchmark has no results."""
        return self._entry(self._results.get_result_value, cell)

    def stats(self, cell: Cell) -> dict[str, Any] | None:
        """The stored statistics of a cell, if any."""
        stats: dict[str, Any] | None = self._entry(self._results.get_result_stats, cell)
        return stats

    def _entry(self, all_of: Callable[..., list[Any]], cell: Cell) -> Any:
        name = self.benchmark["name"]
        if name not in self._results.get_all_result_keys():
            return None
        return all_of(name, self.benchmark["params"])[self.positions[cell.params]]

    def spread(self, cell: Cell, result: BenchmarkResult) -> BenchmarkResult:
        """The result of one cell as one of the whole grid, in which the other cells were not run."""
        empty = _not_run(len(self.positions))
        position = self.positions[cell.params]
        for column in ("result", "samples", "number"):
            getattr(empty, column)[position] = getattr(result, column)[0]
        return empty._replace(errcode=result.errcode, stderr=result.stderr)


def read_records(
    results: Results, benchmarks: Any, notes: Iterable[Mapping[str, Any]]
) -> dict[Cell, CellRecord]:
    """Return the records of the stored cells, of benchmarks in their present version.

    A number means that the cell was measured, also under plain asv. A missing value counts only with a note
    that says why it is missing. Without a note, NaN means "not run", and None is either a failure under plain
    asv or a cell that the grid did not have then.
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
                records[cell] = CellRecord(line["outcome"], line["rounds"], line["seconds"])
            elif outcome(value) == "measured":
                records[cell] = CellRecord("measured", int(benchmark.get("rounds", 1)), 0.0)
    return records


def ran(notes: Iterable[Mapping[str, Any]]) -> dict[Cell, Mapping[str, Any]]:
    """Return the newest note of the kind "ran" for each cell."""
    return {Cell(line["benchmark"], tuple(line["params"])): line for line in notes if line["kind"] == _RAN}


def outcome(value: Any) -> str:
    """Return what the stored value of a cell that was run means: None a failure, NaN a skipped cell."""
    if value is None:
        return "failed"
    return "n/a" if util.is_nan(value) else "measured"


def widened(results: Results, benchmark: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the benchmark with the parameters of now and of the stored cells; widen the stored grid to them.

    asv keeps a stored cell only if its parameters are on the grid of the run that adds to the file. So the
    stored grid is widened first, and its new cells are "not run". Results of another version or with other
    axes are dropped, as asv does.
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
