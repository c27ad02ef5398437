"""The verbs of the command line that have a module of their own, and what all verbs share."""

import os
import sys

from cyclopts import Parameter

from perfmamba.errors import InputError

Several = Parameter(
    consume_multiple=True, negative="", show_default=lambda values: " ".join(map(str, values))
)
"""An option that takes one or more values."""

Switch = Parameter(negative="", show_default=False)
"""An option that is given or not."""


def show(text: str) -> None:
    """Print to stdout, whose reader may have gone and whose disk may be full."""
    try:
        print(text, flush=True)
    except OSError as error:
        # keep Python from trying, and complaining, once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot write the output: {error.strerror}") from error


def in_color() -> bool:
    """Whether stdout is a terminal that may have colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
