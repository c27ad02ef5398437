"""Every error this package raises for its users, in one hierarchy.

The command line turns a `PerfMambaError` into one line on stderr and exit code 2. A message says what
was wrong, with the value, and what to do about it.
"""


class PerfMambaError(Exception):
    """Base of all errors that a user can act on."""


class InputError(PerfMambaError):
    """An argument or a file holds a value that cannot be used."""


class ModelError(PerfMambaError):
    """A model is unknown, or its folder or checkpoint cannot be loaded."""


class TraceError(PerfMambaError):
    """A trace is not readable as a Kineto trace.

    Attributes:
        path: the trace as the user named it.
        offset: byte offset in the (decompressed) text where reading failed; None when the file as a
            whole is wrong.
    """

    def __init__(self, message: str, *, path: str, offset: int | None = None) -> None:
        where = path if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{where}: {message}")
        self.path = path
        self.offset = offset


class DeviceError(PerfMambaError):
    """The device asked for is absent or cannot do what was asked."""


def reason(error: BaseException) -> str:
    """What an error of another package says, in one line: its first, or its name if it says nothing."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
