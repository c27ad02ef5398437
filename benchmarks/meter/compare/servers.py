"""The coordinator's side of the workers: start one for each commit, open cells in them, take samples.

In: builds. Out: `Sampler`s, which give seconds or bytes on demand. Only one process works at a time while
samples are taken: the others wait in a read. Setting up, which is not measured, goes on in parallel.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.meter.compare.builds import Build
from benchmarks.meter.conditions import CONDITIONS

SETUP_TIMEOUT_S = 120.0
IMPORT_TIMEOUT_S = 120.0
_WORKER = Path(__file__).with_name("worker.py")


Benchmark = dict[str, Any]
"""A benchmark as its worker describes it: name, type, unit, params and more; see `worker._described`."""


class CellError(Exception):
    """A cell of one commit has no samples; the message says why.

    Attributes:
        skipped: the commit cannot run the cell (n/a), rather than failing in it.
    """

    def __init__(self, message: str, *, skipped: bool = False):
        super().__init__(message)
        self.skipped = skipped


@dataclass
class Worker:
    """One commit's process, with the suites imported."""

    build: Build
    suites: Path
    listener: Listener
    orders: Connection
    process: subprocess.Popen
    caches: dict[str, Path] = field(default_factory=dict)
    scratch: Path = Path()

    @cached_property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Every benchmark that the suites define for this commit, by name."""
        self.orders.send(("list",))
        return {benchmark["name"]: benchmark for benchmark in _receive(self.orders, IMPORT_TIMEOUT_S)}

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
        return Sampler(*self._child("cell", order, self._cache(benchmark), timeout), timeout)

    def _cache(self, benchmark: Benchmark) -> Path:
        key = benchmark["setup_cache_key"]
        if key not in self.caches:
            folder = self.scratch / str(len(self.caches))
            folder.mkdir()
            if key is not None:
                name = benchmark["name"] + ("-0" if benchmark["params"] else "")
                connection, pid = self._child("setup_cache", name, folder, 10 * SETUP_TIMEOUT_S)
                _close(connection, pid)
            self.caches[key] = folder
        return self.caches[key]

    def _child(self, order: str, name: str, folder: Path, timeout: float) -> tuple[Connection, int]:
        self.orders.send((order, name, str(folder)))
        connection = self.listener.accept()
        pid = _receive(connection, timeout)
        try:
            _expect_ready(_receive(connection, timeout))
        except BaseException:
            _close(connection, pid)
            raise
        return connection, pid


class Sampler:
    """A cell that is set up in one commit's child process and waits to be asked for samples."""

    def __init__(self, connection: Connection, pid: int, timeout: float):
        self._connection = connection
        self._pid = pid
        self._timeout = timeout

    def sample(self, count: int) -> list[float]:
        """`count` samples in a row, in the benchmark's unit.

        Raises:
            CellError: if the benchmark fails, is out of time, or gives a value that is not finite.
        """
        self._connection.send(count)
        answer = _receive(self._connection, self._timeout)
        if isinstance(answer, list):
            return answer
        raise _error(answer)

    def close(self) -> None:
        """End the child."""
        _close(self._connection, self._pid)


@contextmanager
def workers(builds: Sequence[Build], suites: Path) -> Iterator[list[Worker]]:
    """One worker for each build, started together; gone, with all their children, at the end.

    Raises:
        CellError: if a worker cannot start; the message holds what it printed.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="compare-")))
        started = []
        for number, build in enumerate(builds):
            folder = scratch / str(number)
            folder.mkdir()
            listener = stack.enter_context(Listener(str(folder / "socket"), family="AF_UNIX"))
            started.append((build, folder, listener, stack.enter_context(_process(build, suites, folder))))
        yield [
            Worker(
                build,
                suites,
                listener,
                stack.enter_context(_greeted(listener, process, folder)),
                process,
                scratch=folder,
            )
            for build, folder, listener, process in started
        ]


@contextmanager
def _process(build: Build, suites: Path, folder: Path) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-P", str(_WORKER), str(suites), str(folder / "socket"), str(build.folder)]
    environment = {**os.environ, **CONDITIONS, "PYTHONPATH": str(build.folder)}
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


def _greeted(listener: Listener, process: subprocess.Popen, folder: Path) -> Connection:
    """The worker's connection for orders; a worker that ends instead of connecting gives what it printed."""

    def end_waiting() -> None:
        process.wait()
        with suppress(OSError):
            Client(listener.address).close()

    threading.Thread(target=end_waiting, daemon=True).start()
    connection = listener.accept()
    try:
        _receive(connection, IMPORT_TIMEOUT_S)
    except CellError:
        printed = (folder / "log").read_text(errors="replace").strip()
        raise CellError(f"the suites cannot be imported:\n{printed[-2000:]}") from None
    return connection


def _receive(connection: Connection, timeout: float) -> Any:
    if not connection.poll(timeout):
        raise CellError(f"no answer within {timeout:.0f} s")
    try:
        return connection.recv()
    except EOFError:
        raise CellError("its process ended; out of memory?") from None


def _expect_ready(answer: tuple[str, Any]) -> None:
    if answer[0] != "ready":
        raise _error(answer)


def _error(answer: tuple[str, str]) -> CellError:
    """A worker's ("skipped" or "failed", text) as an exception."""
    kind, text = answer
    return CellError(text, skipped=kind == "skipped")


def _close(connection: Connection, pid: int) -> None:
    connection.close()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
