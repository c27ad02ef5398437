"""The registry of trace views."""

import subprocess
import sys

from perfmamba.components import BY, BY_MEANING
from perfmamba.profiling.views import TRACE_VIEWS

NAMES_WITHOUT_NUMPY = """
import sys
from perfmamba.components import BY
assert BY
print("numpy" in sys.modules)
"""


def test_every_name_has_an_entry_and_a_meaning():
    assert tuple(TRACE_VIEWS) == BY
    assert tuple(BY_MEANING) == BY
    for name, entry in TRACE_VIEWS.items():
        assert entry.name == name
        assert entry.needs


def test_the_names_are_known_without_numpy():
    done = subprocess.run(
        [sys.executable, "-c", NAMES_WITHOUT_NUMPY], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
