"""The process that computes, so that a contender that kills its process, or hangs, costs only itself.

In: requests, sent to `serve` by a `Worker`. Out: their answers. On a CPU times and memory are taken in two
processes: times with a heap that keeps what it has got, which is how a long-running program behaves, memory
with one that gives all back, without which a peak cannot be told.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.kernel_table.cases import Case
from benchmarks.kernel_table.contenders import contenders
from benchmarks.kernel_table.measuring import DeviceLostError, Report, measure, peak_growth, reason
from benchmarks.kernel_table.rates import MachineRates, machine_rates
from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.memory import peak_probe

_PATIENCE_S = 10.0


class WorkerLostError(Exception):
    """The process died, hung or lost its device.

    Attributes:
        contender: that it was at; empty if it was at all of them, or none.
    """

    def __init__(self, reason: str, contender: str) -> None:
        super().__init__(reason)
        self.contender = contender


class RequestFailedError(Exception):
    """The process goes on, but has no answer; the text says why."""


@dataclass(frozen=True)
class _Progress:
    contender: str
    text: str


@dataclass(frozen=True)
class _Answer:
    value: Any


@dataclass(frozen=True)
class _Failure:
    reason: str
    is_last: bool


def serve(connection: Connection, threads: int) -> None:
    """Answer requests, each a name, what it is about and other arguments, as long as somebody asks."""
    torch.set_num_threads(threads)
    while True:
        try:
            name, subject, *others = connection.recv()
        except EOFError:
            return

        def report(contender: str, what: str, subject: Any = subject) -> None:
            connection.send(_Progress(contender, f"{subject}: {contender} {what}"))

        try:
            answer = _REQUESTS[name](report, subject, *others)
        except DeviceLostError as error:
            connection.send(_Failure(str(error), is_last=True))
            return
        # the next case may well run
        except Exception as error:  # noqa: BLE001 - see above
            connection.send(_Failure(reason(error), is_last=False))
        else:
            connection.send(_Answer(answer))


def _rates(_report: Report, dtypes: tuple[str, ...]) -> MachineRates:
    return machine_rates(dtypes)


def _measure(report: Report, case: Case, excluded: dict[str, str], seconds: float) -> Any:
    return measure(case, excluded, seconds, report)


def _peaks(report: Report, case: Case, names: list[str]) -> dict[str, int]:
    probe = peak_probe()
    makers = contenders(case, device())
    peaks = {}
    for name in names:
        report(name, "memory")
        peaks[name] = peak_growth(case, makers[name], probe)
    return peaks


_REQUESTS: dict[str, Callable[..., Any]] = {"rates": _rates, "measure": _measure, "peaks": _peaks}


class Worker:
    """A process that serves requests: started when it is first asked, and again after it was lost.

    Args:
        threads: that torch may use there.
        show: told what it is at.
    """

    def __init__(self, threads: int, show: Callable[[str], object]) -> None:
        self._threads = threads
        self._show = show
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def ask(self, *request: Any, timeout_s: float) -> Any:
        """The answer to a request, within so many seconds.

        Raises:
            WorkerLostError: if the process did not live to answer, or not in time.
            RequestFailedError: if it has no answer.
        """
        try:
            return self._answer(self._connected(), request, time.monotonic() + timeout_s)
        except WorkerLostError:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process, whatever it is at."""
        if self._process is not None:
            self._process.kill()
            self._process.join(_PATIENCE_S)
        self._process = self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs, self._threads), daemon=True)
            with _ctrl_c_ignored():  # by the new process too, from its first moment on
                self._process.start()
            theirs.close()  # so that its end is seen when the process dies
        return self._connection

    def _exit_code(self) -> int | None:
        """Of a process that died; None if it lives on after all."""
        if self._process is None:
            return None
        self._process.join(_PATIENCE_S)
        return self._process.exitcode

    def _answer(self, connection: Connection, request: tuple[Any, ...], deadline: float) -> Any:
        contender = ""
        try:
            connection.send(request)
            while connection.poll(max(0.0, deadline - time.monotonic())):
                message = connection.recv()
                if isinstance(message, _Answer):
                    return message.value
                if isinstance(message, _Failure):
                    raise (
                        WorkerLostError(message.reason, contender)
                        if message.is_last
                        else (RequestFailedError(message.reason))
                    )
                contender = message.contender
                self._show(message.text)
        except (EOFError, OSError) as error:
            raise WorkerLostError(f"the process died, exit code {self._exit_code()}", contender) from error
        raise WorkerLostError("no answer in time: it hangs, or takes too long", contender)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
