"""What holds for every micro-benchmark: one thread.

A second thread makes the small operators here no faster, and turns any other work on the machine into noise.
"""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
