"""The verbs of the command line that have a module of their own, and the kinds of options they share."""

from cyclopts import Parameter

Several = Parameter(
    consume_multiple=True, negative="", show_default=lambda values: " ".join(map(str, values))
)
"""An option that takes one or more values."""

Switch = Parameter(negative="", show_default=False)
"""An option that is given or not."""
