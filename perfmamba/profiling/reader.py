"""Reads a Kineto trace.

In: a path to Chrome-trace JSON, plain or gzip, by any torch since 2021. Out: a `Trace`. The text streams
through one small buffer: what stays in memory is columns of the events that count.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from perfmamba.errors import reason
from perfmamba.profiling.columns import ColumnBuilder
from perfmamba.profiling.events import EventDecoder, Kind
from perfmamba.profiling.json_text import Element, JsonText, TruncatedError
from perfmamba.profiling.source import Source
from perfmamba.profiling.trace import Trace

BUFFER_BYTES = 1 << 18
"""Text held at once: large enough to amortise a call of the decoder, small enough for a level-2 cache."""


def read_trace(path: str | Path, *, partial: bool = False, buffer_bytes: int = BUFFER_BYTES) -> Trace:
    """The trace in a file.

    Args:
        path: Chrome-trace JSON, plain or gzip: what `export_chrome_trace` writes.
        partial: read a truncated file up to the cut (`Trace.cut_at`) instead of refusing it.
        buffer_bytes: text held at once.

    Raises:
        TraceError: the file cannot be read, is empty, truncated, not JSON, not UTF-8 or not a trace.
    """
    with Source(path) as source, _no_garbage_collection():
        reader = _Reader(JsonText(source, buffer_bytes))
        try:
            reader.read()
            cut_at = None
        except TruncatedError as error:
            if not (partial and reader.found_events):
                raise
            cut_at = error.offset
    columns = reader.columns
    return Trace(
        path=str(path),
        metadata=reader.metadata,
        ops=columns.spans(Kind.OP),
        annotations=columns.spans(Kind.ANNOTATION),
        modules=columns.spans(Kind.PYTHON_CALL),
        launches=columns.launches(),
        kernels=columns.kernels(),
        memory=columns.memory(),
        names=columns.names,
        threads=columns.threads,
        cut_at=cut_at,
    )


class _Reader:
    """Walks one trace text from start to end."""

    def __init__(self, text: JsonText) -> None:
        self.columns = ColumnBuilder()
        self.metadata: dict[str, Any] = {}
        self.found_events = False
        self._text = text
        self._decoder = EventDecoder()

    def read(self) -> None:
        if self._text.peek() not in ("{", "[", ""):
            raise self._text.error("not a trace: JSON that starts with { or [ should be here")
        if self._text.take("{", "[") == "[":
            self._read_events()
        else:
            self._read_members()
        self._text.finish()

    def _read_members(self) -> None:
        text = self._text
        if text.peek() == "}":
            text.take("}")
        else:
            while True:
                key = text.value()
                text.take(":")
                self._read_member(str(key))
                if text.take(",", "}") == "}":
                    break
        if not self.found_events:
            raise text.error("not a trace: JSON without traceEvents")

    def _read_member(self, key: str) -> None:
        if key != "traceEvents":
            self.metadata[key] = self._text.value()
            return
        if self._text.peek() not in ("[", ""):
            raise self._text.error("not a trace: traceEvents is not a list")
        self._text.take("[")
        self._read_events()

    def _read_events(self) -> None:
        self.found_events = True
        while True:
            if self._text.decode_objects(self._add_decoded):
                continue
            for element in self._text.elements():
                self._add_element(element)
            if self._text.peek() == "]":
                break
        self._text.take("]")

    def _add_decoded(self, array: memoryview) -> bool:
        self.columns.add(self._decoder.decode(array))
        return True

    def _add_element(self, element: Element) -> None:
        event, offset = element
        if not isinstance(event, dict) or not event.keys() & {"ph", "cat"}:
            raise self._text.error("not a trace: an event with ph or cat should be here", offset)
        try:
            self.columns.add(self._converted(event))
        except (msgspec.ValidationError, OverflowError) as error:
            raise self._text.error(
                f"not a trace: an event of a wrong form ({reason(error)})", offset
            ) from None

    def _converted(self, event: dict[str, Any]) -> dict[Kind, list[Any]]:
        try:
            return self._decoder.convert(event)
        except msgspec.ValidationError:
            # Perhaps a time stamp too large for a double; then the next ones are as well.
            self._decoder = EventDecoder(exact=True)
            return self._decoder.convert(event)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The collector would walk the millions of live events again and again, and none is in a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
