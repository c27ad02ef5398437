"""Every script in examples/ runs, and prints what it says it prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRINTED = {
    "profile_model.py": "ms a pass",
    "parse_trace.py": "aten::",
    "prune_and_save.py": "128 states, now 64",
    "our_kernels.py": "the logits agree",
    "own_suite.py": "product.Product.cudatime_product",
}


def test_every_example_is_here():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(PRINTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs(name, tmp_path):
    paths = [str(ROOT), str(ROOT / "kernels")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert PRINTED[name] in done.stdout
