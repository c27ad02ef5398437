"""Ctrl-C and its like, at a moment that suits.

In: SIGINT, SIGTERM and SIGHUP. Out: KeyboardInterrupt, held back while a file is written.
"""

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """Turns the signals that end a run into KeyboardInterrupt while it is entered."""

    def __init__(self):
        self.signal: int | None = None
        self.held_back = _HeldBack(self)

    @property
    def exit_code(self) -> int:
        """What a shell calls the end by that signal: 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGINT)

    def __enter__(self):
        # nohup, for one, starts a program with SIGHUP ignored.
        heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._on_signal) for number in heeded}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        if not self.held_back.active:
            raise KeyboardInterrupt


class _HeldBack:
    """A context in which a signal waits for the end of it."""

    def __init__(self, interruptions: Interruptions):
        self._interruptions = interruptions
        self.active = False

    def __enter__(self):
        self._before = self._interruptions.signal
        self.active = True

    def __exit__(self, *_):
        self.active = False
        if self._interruptions.signal != self._before:
            raise KeyboardInterrupt
