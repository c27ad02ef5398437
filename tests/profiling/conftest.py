import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_trace():
    """Finds one of the real GPU traces, which are not part of the repository."""

    def find(name):
        folder = os.environ.get("PERFMAMBA_TRACES")
        path = Path(folder or "", name)
        if not folder or not path.exists():
            pytest.skip(
                f"no {name}: docs/traces.md, 'Real GPU traces for the tests', says where to get it; "
                "set PERFMAMBA_TRACES to its folder"
            )
        return path

    return find
