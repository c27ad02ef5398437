"""The coordinator's side of the workers: start one for each commit, open cells in them, take samples.

In: builds. Out: `Sampler`s, which give seconds or bytes on demand. Only one process works at a time while
samples are taken: the others wait in a read. Setting up, which is not measured, goes on in parallel.
"""

import math
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from benchmarks.meter.compare.builds import Build
from benchmarks.meter.compare.messages import (
    CellError,
    accepted,
    as_error,
    listening_at,
    ready,
    receive,
    send,
)
from benchmarks.meter.measure.conditions import CONDITIONS

SETUP_TIMEOUT_S = 120.0
IMPORT_TIMEOUT_S = 120.0
_WORKER = Path(__file__).with_name("worker.py")


Benchmark = dict[str, Any]
"""A benchmark as its worker describes it: name, type, unit, params and more; see `worker._described`."""


@dataclass
class Worker:
    """One commit's process, with the suites imported."""

    build: Build
    suites: Path
    listener: socket.socket
    orders: Connection
    process: subprocess.Popen
    scratch: Path
    caches: dict[str, Path] = field(default_factory=dict)
    lost_touch: bool = False
    """An order had no answer: one that comes late would be taken for the next one's."""

    @property
    def usable(self) -> bool:
        """Whether it can take orders."""
        return not self.lost_touch and self.process.poll() is None

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Every benchmark that the suites define for this commit, by name."""
        return {benchmark["name"]: benchmark for benchmark in self._answer("list")}

    @cached_property
    def on_gpu(self) -> bool:
        """Whether torch would compute on a GPU."""
        child, answer = self._child("on_gpu", "", self.scratch, IMPORT_TIMEOUT_S)
        child.end()
        return bool(answer)

    def open(self, name: str, index: int | None) -> "Sampler":
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
        return Sampler(child, timeout)

    def wait_for_end(self, pid: int) -> None:
        """Wait until a child that was killed is gone, and its memory free."""
        with suppress(CellError):
            self._answer("wait", pid)

    def _answer(self, *order: object) -> Any:
        """What the worker itself answers to an order."""
        try:
            send(self.orders, order)
            return receive(self.orders, SETUP_TIMEOUT_S)
        except CellError:
            self.lost_touch = True
            raise

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
            send(self.orders, (order, name, str(folder)))
            connection = accepted(self.listener, self.process, timeout)
            child = _Child(self, connection, receive(connection, timeout))
        except CellError:
            self.lost_touch = True
            raise
        try:
            return child, ready(receive(connection, timeout))
        except BaseException:
            child.end()
            raise


@dataclass(frozen=True)
class _Child:
    worker: Worker
    connection: Connection
    pid: int

    def end(self) -> None:
        """Kill it and wait until it is gone: a GPU's memory is free only then."""
        self.connection.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.worker.wait_for_end(self.pid)


class Sampler:
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
        send(self._child.connection, count)
        answer = receive(self._child.connection, self._timeout)
        if not isinstance(answer, list):
            raise as_error(answer)
        for value in answer:
            if not 0 < value < math.inf:
                raise CellError(f"{value:g} is no positive number to make a ratio of", skipped=True)
        return answer


class Workers:
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
        self._running: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def running(self) -> list[Worker]:
        """The workers, in the order of the builds: started together, and again if one can take no orders.

        Raises:
            CellError: if a worker cannot start; the message holds what it printed.
        """
        if not self._running or not all(worker.usable for worker in self._running):
            self._stack.close()
            self._running = self._stack.enter_context(_started(self._builds, self._suites, self._draw))
        return self._running


@contextmanager
def _started(builds: Sequence[Build], suites: Path, draw: random.Random) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="compare-")))
        listening = {}
        for number in draw.sample(range(len(builds)), len(builds)):
            folder = scratch / str(number)
            folder.mkdir()
            listener = stack.enter_context(listening_at(folder / "socket"))
            listening[number] = (
                folder,
                listener,
                stack.enter_context(_process(builds[number], suites, folder)),
            )
        workers = []
        for number, build in enumerate(builds):
            folder, listener, process = listening[number]
            orders = stack.enter_context(_greeted(listener, process, folder))
            workers.append(Worker(build, suites, listener, orders, process, folder))
        yield workers


@contextmanager
def _process(build: Build, suites: Path, folder: Path) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-P", str(_WORKER), str(suites), str(folder / "socket"), str(build.folder)]
    environment = {**CONDITIONS, **os.environ, "PYTHONPATH": str(build.folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        # Its children are in its group: none outlives the comparison.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _greeted(listener: socket.socket, process: subprocess.Popen, folder: Path) -> Connection:
    """The worker's connection for orders; a worker that ends instead of connecting gives what it printed."""
    try:
        connection = accepted(listener, process, IMPORT_TIMEOUT_S)
        receive(connection, IMPORT_TIMEOUT_S)
    except CellError as error:
        printed = (folder / "log").read_text(errors="replace").strip() or str(error)
        raise CellError(f"the suites cannot be imported:\n{printed[-2000:]}") from None
    return connection
