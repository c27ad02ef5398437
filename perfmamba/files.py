"""Writing files so that a crash, a full disk or Ctrl-C never leaves half of one behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perfmamba.errors import InputError, reason


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` when the block succeeds.

    Raises:
        InputError: if the operating system refuses (no space, no permission); `path` is as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        partial.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        InputError: if something else is there, or the operating system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {reason(error)}") from error
