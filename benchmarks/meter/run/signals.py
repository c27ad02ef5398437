"""The signals that end a run, held back while a file is written.

In: SIGINT (Ctrl-C), SIGTERM and SIGHUP. Out: KeyboardInterrupt.
"""

import signal
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """A context manager that turns the signals that end a run into KeyboardInterrupt.

    Attributes:
        signal: the last one that came; None if there was none.
        held_back: a context manager in which signals wait for its end.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.held_back = _HeldBack(self)

    @property
    def exit_code(self) -> int:
        """The exit code that a shell expects after the signal: 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGINT)

    def __enter__(self) -> Self:
        # some programs, such as nohup, start others with SIGHUP ignored
        heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._on_signal) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        if not self.held_back.active:
            raise KeyboardInterrupt


class _HeldBack:
    """A context manager in which signals wait for its end."""

    def __init__(self, interruptions: Interruptions) -> None:
        self._interruptions = interruptions
        self.active = False

    def __enter__(self) -> None:
        self._before = self._interruptions.signal
        self.active = True

    def __exit__(self, *_: object) -> None:
        self.active = False
        if self._interruptions.signal != self._before:
            raise KeyboardInterrupt
