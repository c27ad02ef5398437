"""Worker processes: how one is started, asked, and ended together with all that it started.

A worker is a Python file with a function `serve(orders, *arguments)`. It runs in a process group of its own,
so Ctrl-C reaches only the process that started it. Its line is a socket: the parent sends an order, a tuple;
the worker sends any number of notes, then one answer or one failure. A worker that forks gives the child a
line of its own, so the parent speaks to the child directly. When the parent is gone, a `Guard` kills the
whole group.

This file is also the script that a worker is started with: it loads the worker's file by its path and calls
`serve`. So a worker may import other versions of the packages that the parent has, `benchmarks` among them.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any, Literal, NoReturn, Self

Reply = tuple[Literal["note", "answer", "skipped", "failed", "lost"], Any]
"""What a worker sends: what kind of message it is, and what it says."""

Cause = Literal["ended", "silent", "gave up"]

_GUARD = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"
_HANDED_OVER = b"."
"""The byte that a handle is sent with."""


class WorkerLostError(Exception):
    """A worker ended, hangs, or says that it cannot go on: only a new one can take further orders.

    Attributes:
        note: what the worker said last while it was at the order; None if it said nothing.
        cause: whether it "ended", is "silent" (it hangs, or is still at the order), or "gave up".
    """

    def __init__(self, message: str, cause: Cause, note: Any = None):
        super().__init__(message)
        self.cause = cause
        self.note = note


class OrderFailedError(Exception):
    """A worker has no answer to an order, and can take the next one.

    Attributes:
        skipped: whether the order does not apply, rather than going wrong.
    """

    def __init__(self, message: str, *, skipped: bool = False):
        super().__init__(message)
        self.skipped = skipped


class Line:
    """The parent's end of the connection to a worker, or to a process that a worker forked."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self.is_lost = False
        """An order had no answer: one that comes late would be taken for the next order's."""

    def ask(self, *order: Any, timeout_s: float, told: Callable[[Any], object] = lambda _note: None) -> Any:
        """Send an order and return its answer; see `answer`."""
        self._send(order)
        return self.answer(timeout_s, told)

    def ask_for_line(self, *order: Any, timeout_s: float) -> tuple["Line", Any]:
        """Send an order and the far end of a new line, which the worker takes with `Orders.line`.

        Returns:
            the near end, and the answer to the order.
        """
        near, far = Pipe()
        line = Line(near)
        try:
            with far:
                self._send(order)
                self._hand_over(far)
            return line, self.answer(timeout_s)
        except BaseException:
            line.close()
            raise

    def answer(self, timeout_s: float, told: Callable[[Any], object] = lambda _note: None) -> Any:
        """Return the answer to the last order. The first answer of a worker is its greeting.

        Args:
            timeout_s: how long to wait, in all.
            told: called with each note that comes before the answer.

        Raises:
            OrderFailedError: if there is no answer to this order.
            WorkerLostError: if the worker ended, did not answer in time, or says that it cannot go on.
        """
        note = None
        end = time.monotonic() + timeout_s
        while True:
            kind, said = self._received(end, timeout_s, note)
            match kind:
                case "answer":
                    return said
                case "note":
                    note = said
                    told(note)
                case "lost":
                    self._lose(said, "gave up", note)
                case _:
                    raise OrderFailedError(said, skipped=kind == "skipped")

    def close(self) -> None:
        """Hang up; a worker that waits for orders ends."""
        self._connection.close()

    def _send(self, order: tuple[Any, ...]) -> None:
        try:
            self._connection.send(order)
        except OSError:
            self._lose_to_death()

    def _hand_over(self, far: Connection) -> None:
        try:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as carrier:
                socket.send_fds(carrier, [_HANDED_OVER], [far.fileno()])
        except OSError:
            self._lose_to_death()

    def _received(self, end: float, timeout_s: float, note: Any) -> Reply:
        try:
            if not self._connection.poll(max(0.0, end - time.monotonic())):
                self._lose(f"no answer within {timeout_s:g} s", "silent", note)
            reply: Reply = self._connection.recv()
        except (EOFError, OSError):
            self._lose_to_death(note)
        return reply

    def _lose_to_death(self, note: Any = None) -> NoReturn:
        self._lose("its process ended; out of memory?", "ended", note)

    def _lose(self, message: str, cause: Cause, note: Any) -> NoReturn:
        self.is_lost = True
        raise WorkerLostError(message, cause, note) from None


class Orders:
    """The worker's end of its line; iterating greets the parent, and yields orders until it is gone."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def __iter__(self) -> Iterator[Any]:
        self.answer(None)
        while True:
            try:
                order = self.take()
            except EOFError:
                return
            yield order

    def take(self) -> Any:
        """Wait for the next order.

        Raises:
            EOFError: if the parent hung up or is gone.
        """
        return self._connection.recv()

    def line(self) -> "Orders":
        """Return the far end that came with an order; see `Line.ask_for_line`."""
        with socket.socket(fileno=os.dup(self._connection.fileno())) as carrier:
            _, (handle,), *_ = socket.recv_fds(carrier, len(_HANDED_OVER), 1)
        os.set_inheritable(handle, False)
        return Orders(Connection(handle))

    def note(self, what: Any) -> None:
        """Say what goes on."""
        self._send("note", what)

    def answer(self, value: Any) -> None:
        """Answer the order that was taken last."""
        self._send("answer", value)

    def skip(self, reason: str) -> None:
        """Say why the order does not apply here."""
        self._send("skipped", reason)

    def fail(self, reason: str) -> None:
        """Say why there is no answer; the next order may have one."""
        self._send("failed", reason)

    def give_up(self, reason: str) -> None:
        """Say why no further order can be taken."""
        self._send("lost", reason)

    def close(self) -> None:
        """Close this copy of the worker's end."""
        self._connection.close()

    def _send(self, *reply: Any) -> None:
        self._connection.send(reply)


class WorkerProcess:
    """A worker that runs; a context manager, at whose end it and all that it started are gone.

    Args:
        file: the worker's, with the function `serve`.
        arguments: for `serve`.
        environment: the variables of the process.
        folder: where it works; where this process works if None.
        log: takes what it prints; None prints it where this process prints.
    """

    def __init__(
        self,
        file: Path,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path | None = None,
        log: IO[bytes] | None = None,
    ):
        near, far = Pipe()
        with far:
            handle = far.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(handle), str(file), *arguments],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[handle],
                start_new_session=True,
            )
        self.line = Line(near)
        self._guard = Guard(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of the process and of its group."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can take orders."""
        return not self.line.is_lost and self._process.poll() is None

    def exit_code(self, timeout_s: float) -> int | None:
        """Wait for the process to end and return its exit code; None if it lives on."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def end(self) -> None:
        """Kill the process and all processes of its group."""
        kill_group(self.pid)
        self.line.close()
        self._process.wait()
        self._guard.end()


class Guard:
    """A process that kills a process group as soon as this process is gone, however it ended.

    Args:
        group: the id of the process that leads the group.
    """

    def __init__(self, group: int):
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Stop guarding: the group has ended."""
        self._process.kill()
        self._process.communicate()


def kill_group(group: int) -> None:
    """Kill every process of a group, if there is one."""
    # macOS says "not permitted" of a group whose processes have all ended
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _main() -> None:
    handle, file, *arguments = sys.argv[1:]
    spec = spec_from_file_location("worker", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.serve(Orders(Connection(int(handle))), *arguments)


if __name__ == "__main__":
    _main()
