"""The benchmark processes of one installed commit.

In: steps. Out: asv's result of each. asv's object that starts processes (the forkserver, if the configuration
asks for it) is kept for all cells. A `setup_cache` is called before its first cell, and its files are removed
after the last one. If the forkserver dies, the cell that ran has failed, and the next cells get a new server.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from asv import runner, util
from asv.runner import BenchmarkResult, ForkServer

from benchmarks.meter.run.plan import Step
from benchmarks.meter.workers import Guard

# As torch says it. Of a benchmark that forks by itself, the last error is another.
_CUDA_WAS_INITIALIZED = "RuntimeError: Cannot re-initialize CUDA in forked subprocess"

_TRACEBACK = "Traceback (most recent call last):"


class Session:
    """A context manager in which cells are run.

    Args:
        env: asv's environment, with the commit installed.
        benchmark_dir: the suites.
        launch_method: "forkserver" or "spawn".
        steps: all that will be run, so that it is known which cells use a `setup_cache`.
        uninterrupted: a context manager that holds back Ctrl-C while processes are started and ended.

    Attributes:
        cache_seconds: how long each `setup_cache` took.

    Raises:
        UserError: on entering, if the suites cannot be imported.
    """

    def __init__(
        self,
        env: Any,
        benchmark_dir: str,
        launch_method: str | None,
        steps: Sequence[Step],
        uninterrupted: AbstractContextManager[object],
    ) -> None:
        self.cache_seconds: dict[str, float] = {}
        self._uninterrupted = uninterrupted
        self._start: Callable[[], Any] = lambda: runner.get_spawner(env, benchmark_dir, launch_method)
        self._users = Counter(step.cache_key for step in steps)
        self._timeouts: dict[str | None, float] = {}
        for step in steps:
            timeout = step.benchmark.get("setup_cache_timeout", step.benchmark["timeout"])
            self._timeouts[step.cache_key] = max(timeout, self._timeouts.get(step.cache_key, 0))
        self._caches: dict[str | None, str | None] = {}
        self._cache_errors: dict[str | None, str | None] = {}

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for folder in filter(None, self._caches.values()):
            shutil.rmtree(folder, ignore_errors=True)

    def lacks_cache(self, step: Step) -> bool:
        """Return whether the cell's `setup_cache` has still to be called."""
        return step.cache_key is not None and step.cache_key not in self._caches

    def cache_timeout(self, step: Step) -> float:
        """Return the seconds after which the cell's `setup_cache` is ended."""
        return self._timeouts[step.cache_key]

    def prepare(self, step: Step) -> None:
        """Call the cell's `setup_cache`, unless that was done. If it fails, the cells that use it fail."""
        key = step.cache_key
        if key is None or not self.lacks_cache(step):
            return
        started = time.monotonic()
        affinity = json.dumps({"cpu_affinity": None})
        folder, error = self._spawner.create_setup_cache(step.cell.benchmark, self._timeouts[key], affinity)
        self.cache_seconds[key] = time.monotonic() - started
        self._caches[key] = folder
        self._cache_errors[key] = error

    def measure(self, step: Step, number: int | None = None) -> BenchmarkResult:
        """Run one round of a prepared cell.

        Args:
            step: which round of which cell.
            number: how many calls make one sample; None to let asv find out.

        Returns:
            asv's result of this cell alone, in lists of one.

        Raises:
            KeyboardInterrupt: on Ctrl-C.
            UserError: if importing the suites has initialized CUDA, so that all forked cells would fail.
        """
        try:
            if error := self._cache_errors.get(step.cache_key):
                return _failed(f"asv: setup_cache failed\n{error}")
            return self._measured(step, {"number": number} if number else {})
        finally:
            self._release(step)

    def _measured(self, step: Step, attributes: dict[str, Any]) -> BenchmarkResult:
        try:
            grid = runner.run_benchmark(
                step.benchmark,
                self._spawner,
                profile=False,
                selected_idx={step.index},
                extra_params=attributes,
                cwd=self._caches.get(step.cache_key),
            )
        except (util.UserError, OSError, RuntimeError) as error:
            if self._spawner.interrupted:
                raise KeyboardInterrupt from error
            self._close()
            self._open()
            return _failed(f"asv: the server that runs the benchmarks died: {error}")
        cell = [[column[step.index]] for column in (grid.result, grid.samples, grid.number)]
        result = BenchmarkResult(*cell, grid.errcode, grid.stderr, None)
        if result.errcode and error_line(result).startswith(_CUDA_WAS_INITIALIZED):
            raise util.UserError(
                "importing the suites has initialized CUDA, which bars the processes that are forked "
                "afterwards from the GPU: leave CUDA to `setup`, or use --launch-method spawn"
            )
        return result

    def _release(self, step: Step) -> None:
        self._users[step.cache_key] -= 1
        if not self._users[step.cache_key] and (folder := self._caches.get(step.cache_key)):
            shutil.rmtree(folder, ignore_errors=True)
            self._caches[step.cache_key] = None

    def _open(self) -> None:
        try:
            # Interrupted while it starts, asv's server would stay, and a thread that waits for its end.
            with self._uninterrupted:
                self._spawner = self._start()
                self._guard = _guard(self._spawner)
            imported, output = self._spawner.preimport()
        except RuntimeError as error:
            raise util.UserError(f"asv could not start its forkserver: {error}") from error
        except KeyboardInterrupt:
            self._spawner.interrupt()
            self._close()
            raise
        if not imported:
            self._close()
            raise util.UserError(f"the benchmark suites cannot be imported:\n{output}")

    def _close(self) -> None:
        with self._uninterrupted:
            self._spawner.close()
            if self._guard:
                self._guard.end()


def _guard(spawner: Any) -> Guard | None:
    """Ends asv's forkserver with this process: it leads a process group of its own, and would outlive us."""
    return Guard(spawner.server_proc.pid) if isinstance(spawner, ForkServer) else None


def error_line(result: BenchmarkResult) -> str:
    """Return what went wrong: the first line of the exception's message, or else the last line printed."""
    lines: list[str] = [line.rstrip() for line in result.stderr.splitlines() if line.strip()]
    if not lines:
        return f"its process ended with status {result.errcode}"
    if _TRACEBACK not in lines or result.errcode == util.TIMEOUT_RETCODE:
        return lines[-1]
    *_, raised = (i for i, line in enumerate(lines) if line == _TRACEBACK)
    return next((line for line in lines[raised + 1 :] if not line.startswith(" ")), lines[-1])


def _failed(reason: str) -> BenchmarkResult:
    return BenchmarkResult([None], [None], [None], 1, reason, None)
