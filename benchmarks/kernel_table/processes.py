"""The processes that compute, so that a contender that kills its process, or hangs, costs only itself.

On a CPU times and memory are taken in two processes: times with a heap that keeps what it has got, which is
how a long-running program behaves, memory with one that gives all back, without which a peak cannot be told.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from benchmarks.meter.workers import WorkerLostError, WorkerProcess

_WORKER = Path(__file__).with_name("worker.py")
_PATIENCE_S = 10.0


class ContenderLostError(Exception):
    """The process died, hung or lost its device.

    Attributes:
        contender: that it was at; empty if it was at all of them, or at none.
    """

    def __init__(self, reason: str, contender: str) -> None:
        super().__init__(reason)
        self.contender = contender


class ComputeProcess:
    """A process that computes: started when it is first asked, and again after it was lost.

    Args:
        threads: that torch may use there.
        show: told what it is at.
    """

    def __init__(self, threads: int, show: Callable[[str], object]) -> None:
        self._threads = threads
        self._show = show
        self._worker: WorkerProcess | None = None

    def ask(self, *order: Any, timeout_s: float) -> Any:
        """Return the answer to an order, within so many seconds, the start of the process included.

        Raises:
            ContenderLostError: if the process did not live to answer, or not in time.
            OrderFailedError: if it has no answer.
        """
        end = time.monotonic() + timeout_s
        try:
            line = self._started(timeout_s).line
            return line.ask(*order, timeout_s=end - time.monotonic(), told=self._told)
        except WorkerLostError as lost:
            self._lose(lost)

    def stop(self) -> None:
        """End the process, whatever it is at."""
        if self._worker is not None:
            self._worker.end()
        self._worker = None

    def _started(self, timeout_s: float) -> WorkerProcess:
        if self._worker is None:
            path = os.pathsep.join(map(os.path.abspath, sys.path))
            environment = {**os.environ, "PYTHONPATH": path}
            self._worker = WorkerProcess(_WORKER, str(self._threads), environment=environment)
            self._worker.line.answer(timeout_s)
        return self._worker

    def _told(self, note: tuple[str, str]) -> None:
        _, text = note
        self._show(text)

    def _lose(self, lost: WorkerLostError) -> NoReturn:
        contender, _ = lost.note or ("", "")
        reason = str(lost)
        if lost.cause == "silent":
            reason = "no answer in time: it hangs, or takes too long"
        elif lost.cause == "ended" and self._worker:
            reason = f"the process died, exit code {self._worker.exit_code(_PATIENCE_S)}"
        self.stop()
        raise ContenderLostError(reason, contender) from None


@dataclass(frozen=True)
class ComputeProcesses:
    """The processes that compute: one for times, one for memory; on a GPU, one for both."""

    times: ComputeProcess
    memory: ComputeProcess

    @classmethod
    def on(cls, device: str, threads: int, show: Callable[[str], object]) -> Self:
        """Those for a device."""
        times = ComputeProcess(threads, show)
        return cls(times, times if device == "cuda" else ComputeProcess(threads, show))

    def stop(self) -> None:
        """End them."""
        self.times.stop()
        self.memory.stop()
