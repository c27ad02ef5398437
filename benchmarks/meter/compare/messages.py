"""Messages between the coordinator and its workers: all that goes wrong is a `CellError`, all waits end."""

import socket
import subprocess
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_LOOK_S = 0.1
"""How often to look whether a process that is waited for is still there."""


class CellError(Exception):
    """A cell of one commit has no samples; the message says why.

    Attributes:
        skipped: the commit cannot run the cell (n/a), rather than failing in it.
        sampler: whose sample it was, if it was one.
    """

    def __init__(self, message: str, *, skipped: bool = False):
        super().__init__(message)
        self.skipped = skipped
        self.sampler: object = None


def listening_at(path: Path) -> socket.socket:
    """A socket for `accepted`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(_LOOK_S)
    return listener


def accepted(listener: socket.socket, process: subprocess.Popen, timeout: float) -> Connection:
    """The connection that a process, or a child of it, opens within so many seconds.

    Raises:
        CellError: if none does, or the process has ended.
    """
    end = time.monotonic() + timeout
    while process.poll() is None:
        if time.monotonic() > end:
            raise CellError(f"no process that answers within {timeout:g} s")
        with suppress(TimeoutError):
            return Connection(listener.accept()[0].detach())
    raise CellError("its worker ended; out of memory?")


def send(connection: Connection, order: object) -> None:
    """Send anything that can be pickled.

    Raises:
        CellError: if the other process has ended.
    """
    try:
        connection.send(order)
    except OSError:
        raise CellError("its process ended; out of memory?") from None


def receive(connection: Connection, timeout: float) -> Any:
    """What the other process sends within so many seconds.

    Raises:
        CellError: if it sends nothing, or has ended.
    """
    try:
        if connection.poll(timeout):
            return connection.recv()
    except (EOFError, OSError):
        raise CellError("its process ended; out of memory?") from None
    raise CellError(f"no answer within {timeout:g} s")


def ready(answer: tuple[str, Any]) -> Any:
    """What a child has to say on being ready, if it is."""
    if answer[0] != "ready":
        raise as_error(answer)
    return answer[1]


def as_error(answer: tuple[str, str]) -> CellError:
    """A worker's ("skipped" or "failed", text) as an exception."""
    kind, text = answer
    return CellError(text, skipped=kind == "skipped")
