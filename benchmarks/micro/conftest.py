"""Fixtures and hooks of all micro-benchmarks: one thread, and one line about a slow-down."""

from collections.abc import Generator, Iterator

import pytest
import torch
from pytest_benchmark.session import PerformanceRegression


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Run on one thread: a second one makes small operators no faster, and the times noisier."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary() -> Generator[None, None, None]:
    """End with exit code 1 where --benchmark-compare-fail found something, without the plugin's traceback."""
    try:
        return (yield)
    except PerformanceRegression as regression:
        pytest.exit(str(regression), returncode=1)
