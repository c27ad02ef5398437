"""What must be set before anything is imported, here and in the processes that tests start."""

import os

# Two threads that wait for each other spin: beside other work, small tensors take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

# Triton reads it when a kernel is decorated, its own library's functions as soon as it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process of pytest-xdist, as they share fixtures.

    Slow tests all go to the same process: many time something, and would disturb each other.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = "slow" if item.get_closest_marker("slow") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
