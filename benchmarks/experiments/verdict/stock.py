"""The same cells as asv's own `time_*` benchmarks, and what `asv continuous` says of them.

In: a clone and two of its revisions. Out: for each cell, by each factor of asv's, whether it is called
slower, faster or neither.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.meter.measure.conditions import STEADY_HEAP

FACTORS = ("1.1", "1.02")
"""asv's default factor, below which it ignores a change, and the least that our comparison calls."""

_SUITE = """
from benchmarks.workload import checked_forward, checked_replay, loaded


class Stock:
    params = (["ssm", "norm", "decode"],)
    param_names = ("cell",)
    version = "1"

    def setup(self, cell):
        model = loaded("mamba2-130m-2layers")
        if cell == "decode":
            self.call = checked_forward(model, 1, "decode", 64)
        else:
            self.call = checked_replay(model, 1, cell, 512)

    def time_cell(self, cell):
        self.call()
"""
_ROW = re.compile(r"\| (?P<mark>[+x-]?) .*stock_verdict\.Stock\.time_cell\('(?P<cell>.*)'\)")
_WORDS = {"+": "slower", "-": "faster"}


def add_suite(clone: Path) -> None:
    """Put the suite beside those of the clone."""
    (clone / "benchmarks" / "stock_verdict.py").write_text(_SUITE)


def continuous(clone: Path, base: str, head: str) -> dict[str, dict[str, str]]:
    """Run `asv continuous`: for each factor, and each cell, "slower", "faster" or "".

    Raises:
        RuntimeError: if asv measured no cell; the message holds what it printed.
    """
    printed = _asv(clone, "continuous", "--bench", "stock_verdict", "--show-stderr", base, head)
    said = {factor: _marks(_asv(clone, "compare", "--factor", factor, base, head)) for factor in FACTORS}
    if not all(said.values()):
        raise RuntimeError(printed)
    return said


def _marks(table: str) -> dict[str, str]:
    return {row["cell"]: _WORDS.get(row["mark"], "") for row in _ROW.finditer(table)}


def _asv(clone: Path, *arguments: str) -> str:
    # our plugin would give asv's processes the steady heap, which asv by itself does not
    environment = {**os.environ, **dict.fromkeys(STEADY_HEAP, "")}
    command = [sys.executable, "-m", "asv", *arguments]
    return subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, check=False
    ).stdout
