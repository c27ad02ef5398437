"""What keeps a cell from being compared."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.meter.workers import OrderFailedError, WorkerLostError


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


@contextmanager
def as_cell_errors() -> Iterator[None]:
    """Turn what a worker has to say on having no answer into a `CellError`."""
    try:
        yield
    except OrderFailedError as error:
        raise CellError(str(error), skipped=error.skipped) from None
    except WorkerLostError as error:
        raise CellError(str(error)) from None
