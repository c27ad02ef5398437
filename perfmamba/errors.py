"""Every error that this package raises for its users, and how to quote an error of another package.

    PerfMambaError          a user can act on it
     +-- InputError         an argument or a file holds a value that cannot be used
     +-- ModelError         a model is unknown, or cannot be loaded, run or pruned
     +-- TraceError         a file cannot be read as a trace of the torch profiler
     +-- DeviceError        the device is absent, or cannot do what was asked

A message says what was wrong, with the value, and what to do about it. The command line prints it as one line
on stderr and exits with code 2.
"""


class PerfMambaError(Exception):
    """Base of all errors that a user can act on."""


class InputError(PerfMambaError):
    """An argument or a file holds a value that cannot be used."""


class ModelError(PerfMambaError):
    """A model is unknown, or it cannot be loaded, run or pruned."""


class TraceError(PerfMambaError):
    """A file cannot be read as a trace of the torch profiler.

    Attributes:
        path: the trace as the user named it.
        offset: the byte of the decompressed text at which reading failed; None if the whole file is wrong.
    """

    def __init__(self, message: str, *, path: str, offset: int | None = None) -> None:
        where = path if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{where}: {message}")
        self.path = path
        self.offset = offset


class DeviceError(PerfMambaError):
    """The device asked for is absent or cannot do what was asked."""


def reason(error: BaseException) -> str:
    """Return what an error of another package says, in one line.

    This is what the operating system says, or the first line of the message, or the name of the class.
    """
    said = getattr(error, "strerror", None) or str(error).strip()
    return str(said).splitlines()[0] if said else type(error).__name__
