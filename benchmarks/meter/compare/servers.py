"""The coordinator's side of the comparison: a worker for each commit, cells opened in them, samples taken.

In: builds. Out: `CellSampler`s, which give seconds or bytes on demand. Only one process works at a time while
samples are taken: the others wait in a read. Setting up, which is not measured, goes on in parallel.
"""

import math
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from benchmarks.meter.compare.builds import Build
from benchmarks.meter.compare.errors import CellError, as_cell_errors
from benchmarks.meter.measure.conditions import CONDITIONS
from benchmarks.meter.workers import Line, WorkerLostError, WorkerProcess

SETUP_TIMEOUT_S = 120.0
IMPORT_TIMEOUT_S = 120.0
_WORKER = Path(__file__).with_name("worker.py")
_LOG = "log"


Benchmark = dict[str, Any]
"""A benchmark as its worker describes it: name, type, unit, params and more; see `worker._described`."""


@dataclass
class CommitWorker:
    """One commit's process, with the suites imported."""

    build: Build
    process: WorkerProcess
    scratch: Path
    caches: dict[str, Path] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether it can take orders."""
        return self.process.usable

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Every benchmark that the suites define for this commit, by name."""
        with as_cell_errors():
            listed: list[Benchmark] = self.process.line.ask("list", timeout_s=SETUP_TIMEOUT_S)
        return {benchmark["name"]: benchmark for benchmark in listed}

    @cached_property
    def on_gpu(self) -> bool:
        """Whether torch would compute on a GPU."""
        child, answer = self._child("on_gpu", "", self.scratch, IMPORT_TIMEOUT_S)
        child.end()
        return bool(answer)

    def open(self, name: str, index: int | None) -> "CellSampler":
        """Set a cell up in a child and take its first sample, which is a warm-up.

        Args:
            name: of the benchmark.
            index: which of its parameter combinations; None if it has no parameters.

        Raises:
            CellError: if setting up skips, fails or takes longer than the benchmark's timeout.
        """
        benchmark = self.benchmarks.get(name)
        if benchmark is None:
            raise CellError("the suites define no such benchmark for this commit", skipped=True)
        timeout = benchmark["timeout"] or SETUP_TIMEOUT_S
        order = name if index is None else f"{name}-{index}"
        child, _ = self._child("cell", order, self._cache(benchmark), timeout)
        return CellSampler(child, timeout)

    def wait_for_end(self, pid: int) -> None:
        """Wait until a child that was killed is gone, and its memory free."""
        with suppress(WorkerLostError):
            self.process.line.ask("wait", pid, timeout_s=SETUP_TIMEOUT_S)

    def _cache(self, benchmark: Benchmark) -> Path:
        key = benchmark["setup_cache_key"]
        if key not in self.caches:
            folder = self.scratch / str(len(self.caches))
            folder.mkdir(exist_ok=True)
            if key is not None:
                name = benchmark["name"] + ("-0" if benchmark["params"] else "")
                child, _ = self._child("setup_cache", name, folder, 10 * SETUP_TIMEOUT_S)
                child.end()
            self.caches[key] = folder
        return self.caches[key]

    def _child(self, order: str, name: str, folder: Path, timeout: float) -> tuple["_Child", Any]:
        """A child that carries out an order, and what it answers once it is ready."""
        try:
            line, pid = self.process.line.ask_for_line(order, name, str(folder), timeout_s=timeout)
        except WorkerLostError as lost:
            reason = f"no process that answers within {timeout:g} s" if lost.cause == "silent" else str(lost)
            raise CellError(reason) from None
        child = _Child(self, line, pid)
        try:
            with as_cell_errors():
                return child, line.answer(timeout)
        except BaseException:
            child.end()
            raise


@dataclass(frozen=True)
class _Child:
    worker: CommitWorker
    line: Line
    pid: int

    def end(self) -> None:
        """Kill it and wait until it is gone: a GPU's memory is free only then."""
        self.line.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.worker.wait_for_end(self.pid)


class CellSampler:
    """A cell that is set up in one commit's child process and waits to be asked for samples."""

    def __init__(self, child: _Child, timeout: float):
        self._child = child
        self._timeout = timeout

    def sample(self, count: int) -> list[float]:
        """`count` samples in a row, in the benchmark's unit.

        Raises:
            CellError: if the benchmark fails, is out of time, or gives a value that is not positive and
                finite, which no ratio can be made of.
        """
        try:
            return self._sampled(count)
        except CellError as error:
            error.sampler = self
            raise

    def close(self) -> None:
        """End the child."""
        self._child.end()

    def _sampled(self, count: int) -> list[float]:
        with as_cell_errors():
            samples: list[float] = self._child.line.ask(count, timeout_s=self._timeout)
        for value in samples:
            if not 0 < value < math.inf:
                raise CellError(f"{value:g} is no positive number to make a ratio of", skipped=True)
        return samples


class CommitWorkers:
    """A worker for each build; a context manager, at whose end they and all their children are gone.

    Args:
        builds: of the commits.
        suites: the folder of the asv suites.
        draw: draws the order in which they start.
    """

    def __init__(self, builds: Sequence[Build], suites: Path, draw: random.Random):
        self._builds = builds
        self._suites = suites
        self._draw = draw
        self._stack = ExitStack()
        self._running: list[CommitWorker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def running(self) -> list[CommitWorker]:
        """The workers, in the order of the builds: started together, and again if one can take no orders.

        Raises:
            CellError: if a worker cannot start; the message holds what it printed.
        """
        if not self._running or not all(worker.usable for worker in self._running):
            self._stack.close()
            self._running = self._stack.enter_context(_started(self._builds, self._suites, self._draw))
        return self._running


@contextmanager
def _started(builds: Sequence[Build], suites: Path, draw: random.Random) -> Iterator[list[CommitWorker]]:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="compare-")))
        workers = {}
        for number in draw.sample(range(len(builds)), len(builds)):
            folder = scratch / str(number)
            folder.mkdir()
            process = stack.enter_context(_process(builds[number], suites, folder))
            workers[number] = CommitWorker(builds[number], process, folder)
        in_order = [workers[number] for number in range(len(builds))]
        for worker in in_order:
            _greet(worker)
        yield in_order


def _process(build: Build, suites: Path, folder: Path) -> WorkerProcess:
    environment = {**CONDITIONS, **os.environ, "PYTHONPATH": str(build.folder)}
    with (folder / _LOG).open("wb") as log:
        return WorkerProcess(
            _WORKER, str(suites), str(build.folder), environment=environment, folder=folder, log=log
        )


def _greet(worker: CommitWorker) -> None:
    """Wait for a worker's greeting; a worker that ends instead gives what it printed."""
    try:
        worker.process.line.answer(IMPORT_TIMEOUT_S)
    except WorkerLostError as lost:
        printed = (worker.scratch / _LOG).read_text(errors="replace").strip() or str(lost)
        raise CellError(f"the suites cannot be imported:\n{printed[-2000:]}") from None
