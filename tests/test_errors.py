"""What is quoted of the errors of other packages."""

import pytest

from perfmamba.errors import reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first line\nsecond line"), "first line"),
        (ValueError("\n first line\n"), "first line"),
        (KeyError(), "KeyError"),
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device", "out.json"), "No space left on device"),
        (OSError("the hub is not there\nmore"), "the hub is not there"),
    ],
)
def test_a_reason_is_one_line(error, said):
    assert reason(error) == said
