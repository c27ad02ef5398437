"""The command line: the app with all its verbs, and how it ends.

Anything that a user can act on ends as one line on stderr and exit code 2. Ctrl-C ends with exit code 130.
"""

import os
from collections.abc import Sequence

from cyclopts import App, CycloptsError

import perfmamba
from perfmamba.commands.verbs import VERBS
from perfmamba.errors import InputError
from perfmamba.terminal import exit_codes

# Kineto announces every start and stop of the profiler on stderr; only this level silences it.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
# transformers warns of every kernel that it has no fast version of; our results name the packages that ran.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# The progress bars of the hub would run through ours.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

app = App(
    name="perfmamba",
    version=perfmamba.__version__,
    help="See where the time and memory of Mamba-1 and Mamba-2 models go, and prune their state.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _place, (_name, _verb) in enumerate(VERBS.items()):
    app.command(_verb, name=_name)
    app[_name].sort_key = _place


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    with exit_codes("perfmamba"):
        try:
            app(arguments, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            raise InputError(str(error)) from error
