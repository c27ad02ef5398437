"""JSON text of any length, read through one reused buffer.

In: a `Source`. Out: values in the order of the text. There are two ways to read on from a position. The fast
way hands a buffer full of whole objects to a decoder at once. The exact way reads one value at a time with
the standard library, and reports the byte at which the text is cut, is not JSON or is not UTF-8.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import msgspec

from perfmamba.errors import TraceError, reason
from perfmamba.profiling.source import Source

T = TypeVar("T")

_MAX_VALUE_BYTES = 1 << 26
_WHITESPACE = re.compile(r"[ \t\r\n]*")
_WHITESPACE_BYTES = b" \t\r\n"
_SEPARATOR_BYTES = 64
# Not strict: old writers put raw control characters into names.
_DECODER = json.JSONDecoder(parse_float=Decimal, strict=False)
# A text that ends within a token makes the standard decoder report the start of that token. The longest such
# token is a surrogate pair of escapes, `\ud83d\ude00`.
_TAIL_CHARACTERS = 16


class TruncatedError(TraceError):
    """The text ends within a value."""


class _IncompleteError(Exception):
    """The value continues beyond the end of the buffer."""


class Element(NamedTuple):
    """A value of an array, and the byte of the text at which it starts."""

    value: Any
    offset: int


class JsonText:
    """A position in a JSON text.

    Args:
        source: the bytes of the text.
        buffer_bytes: size of the buffer. It grows, up to 64 MiB, if a single value is longer.
    """

    def __init__(self, source: Source, buffer_bytes: int) -> None:
        self._source = source
        # One byte is kept free before the text: `decode_objects` writes a bracket there.
        self._buffer = bytearray(1 + buffer_bytes)
        self._start = self._stop = 1
        self._buffer_offset = -1
        self._at_end = False
        self._characters: str | None = None
        self._at = 0
        self._fill()
        if self._buffer.startswith(codecs.BOM_UTF8, 1):
            self._start += len(codecs.BOM_UTF8)

    @property
    def offset(self) -> int:
        """The position, in bytes from the start of the text."""
        return self._buffer_offset + self._start

    def error(self, message: str, offset: int | None = None) -> TraceError:
        """An error about the byte at `offset`, by default about the current position."""
        return TraceError(message, path=self._source.path, offset=self.offset if offset is None else offset)

    def peek(self) -> str:
        """The next character that is not white space; "" at the end of the text."""
        while True:
            characters = self._view()
            blank = _WHITESPACE.match(characters, self._at)
            assert blank is not None  # the pattern also matches the empty string
            self._move_to(blank.end())
            if self._at < len(characters):
                return characters[self._at]
            if not self._grow():
                return ""

    def take(self, *allowed: str) -> str:
        """Step over the next character, which must be one of `allowed`.

        Raises:
            TraceError: the next character is another one, or the text ends here.
        """
        character = self.peek()
        if not character:
            raise self._truncated()
        if character not in allowed:
            wanted = " or ".join(allowed)
            raise self.error(f"not JSON: {character!r} where {wanted} should be")
        self._move_to(self._at + 1)
        return character

    def value(self) -> Any:
        """Read one value and step over it. Numbers with a fraction become decimals, exactly as written.

        Raises:
            TraceError: the text is not JSON here, or ends within the value.
        """
        while True:
            self.peek()
            try:
                return self._buffered_value()
            except _IncompleteError:
                if not self._grow():
                    raise self._truncated() from None

    def decode_objects(self, decode: Callable[[memoryview], T]) -> T | None:
        """Decode the buffered objects as one array, and step over them.

        The array is cut at the last place where `}`, `,` and `{` follow each other. That place may be inside
        an object. Then a bracket or a quote is still open and no decoder accepts the array, so a wrong cut is
        always noticed.

        Returns:
            What `decode` returns. None if there is no place to cut or `decode` cannot read the array; then
            the position has not changed.
        """
        self._characters = None
        self._fill()
        cut = self._last_cut()
        if cut is None:
            return None
        end, following = cut
        array = slice(self._start - 1, end + 1)
        replaced = self._buffer[array.start], self._buffer[end]
        self._buffer[array.start], self._buffer[end] = b"[]"
        try:
            with memoryview(self._buffer)[array] as view:
                decoded = decode(view)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
            self._buffer[array.start], self._buffer[end] = replaced
            return None
        self._start = following
        return decoded

    def elements(self) -> Iterator[Element]:
        """Read the elements of an array one by one, until the array or the buffer ends.

        Raises:
            TraceError: the text is not JSON here, or ends before the array does.
        """
        while self.peek() != "]":
            buffered = self._view()
            offset = self.offset
            yield Element(self.value(), offset)
            if self.peek() != "]":
                self.take(",", "]")
            if self._characters is not buffered:
                return

    def finish(self) -> None:
        """Check that nothing but white space is left.

        Raises:
            TraceError: there is more text, or the gzip stream is incomplete.
        """
        if self.peek():
            raise self.error("not JSON: more text behind the end of the trace")
        if self._source.cut:
            raise self._truncated()

    def _buffered_value(self) -> Any:
        characters = self._view()
        try:
            value, end = _DECODER.raw_decode(characters, self._at)
        except json.JSONDecodeError as error:
            if self._is_cut(error):
                raise _IncompleteError from None
            offset = self.offset + len(characters[self._at : error.pos].encode())
            raise self.error(f"not JSON: {error.msg}", offset) from None
        except (ValueError, RecursionError) as error:
            raise self.error(f"not JSON that can be read ({reason(error)})") from None
        if end == len(characters) and characters[end - 1] not in '"}]' and not self._at_end:
            raise _IncompleteError  # a number may have more digits
        self._move_to(end)
        return value

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the decoder failed because the text ends too early, and not because of wrong text."""
        if error.msg.startswith("Unterminated string"):
            return True
        rest = error.doc[error.pos :]
        if self._at_end:
            return "}" not in rest and "]" not in rest
        return len(rest) <= _TAIL_CHARACTERS

    def _truncated(self) -> TruncatedError:
        end = self._buffer_offset + self._stop
        message = (
            f"truncated: the text ends within what starts at byte {self.offset}; "
            "it can be read up to there with --partial"
        )
        return TruncatedError(message, path=self._source.path, offset=end)

    def _view(self) -> str:
        """The unread bytes as characters; `_at` is the index of the position in them."""
        if self._characters is None:
            self._at = 0
            unread = memoryview(self._buffer)[self._start : self._stop]
            try:
                self._characters, _ = codecs.utf_8_decode(unread, "strict", False)
            except UnicodeDecodeError as error:
                raise self.error("not UTF-8 text", self.offset + error.start) from None
        return self._characters

    def _move_to(self, at: int) -> None:
        characters = self._view()
        passed = at - self._at if characters.isascii() else len(characters[self._at : at].encode())
        self._start += passed
        self._at = at

    def _grow(self) -> bool:
        """Read more text into the buffer; False if the text has ended."""
        unread = self._stop - self._start
        if unread > _MAX_VALUE_BYTES:
            raise self.error(f"one value is longer than {_MAX_VALUE_BYTES >> 20} MiB: not a trace")
        if 2 * unread >= len(self._buffer) - 1:
            self._buffer += bytes(len(self._buffer))
        self._characters = None
        self._fill()
        return self._stop - self._start > unread

    def _fill(self) -> None:
        unread = self._stop - self._start
        self._buffer[1 : 1 + unread] = self._buffer[self._start : self._stop]
        self._buffer_offset += self._start - 1
        self._start, self._stop = 1, 1 + unread
        with memoryview(self._buffer) as view:
            while self._stop < len(view) and not self._at_end:
                read = self._source.read_into(view[self._stop :])
                self._stop += read
                self._at_end = read == 0

    def _last_cut(self) -> tuple[int, int] | None:
        """The last place in the buffer where `}`, `,` and `{` follow each other.

        Returns:
            The index after the `}` and that of the `{`; None if there is no such place.
        """
        following = self._stop
        while (following := self._buffer.rfind(b"{", self._start, following)) > self._start:
            before = bytes(self._buffer[max(self._start, following - _SEPARATOR_BYTES) : following])
            comma = before.rstrip(_WHITESPACE_BYTES)
            brace = comma[:-1].rstrip(_WHITESPACE_BYTES)
            if comma.endswith(b",") and brace.endswith(b"}"):
                return following - len(before) + len(brace), following
        return None
