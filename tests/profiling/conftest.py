import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_trace():
    """Finds one of the real GPU traces that lie beside the repository."""

    def find(name):
        beside = Path(__file__).parents[2].parent / "shared" / "traces"
        path = Path(os.environ.get("PERFMAMBA_TRACES", beside)) / name
        if not path.exists():
            pytest.skip(f"no {name}: set PERFMAMBA_TRACES to a folder of real traces")
        return path

    return find
