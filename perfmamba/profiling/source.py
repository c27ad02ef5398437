"""The bytes of a trace file, whether plain or gzip.

In: a path. Out: a `Source` that fills a caller's buffer with decompressed bytes, so that reading
allocates nothing that grows with the file. What a file turns out to be is decided by its first bytes,
not by its name.
"""

import io
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

from perfmamba.errors import TraceError, reason

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31
_COMPRESSED_BLOCK_BYTES = 1 << 16
_UTF_16_AND_32_STARTS = (b"\xff\xfe", b"\xfe\xff", b"\x00")


class Source:
    """An open trace file, read once from start to end.

    Attributes:
        path: the file as the user named it.
        cut: whether the gzip stream ended before its end mark; known once `read_into` has returned 0.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.cut = False
        self._file = _opened(path)
        self._compressed = b""
        start = self._file.peek(4)[:4]
        self._inflater = zlib.decompressobj(_GZIP_WBITS) if start.startswith(_GZIP_MAGIC) else None
        problem = _not_text(start)
        if problem:
            self._file.close()
            raise TraceError(problem, path=self.path, offset=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer` from its start; the number of bytes written, 0 only at the end of the text.

        Raises:
            TraceError: the disk or the gzip stream is broken.
        """
        try:
            if self._inflater is None:
                return self._file.readinto(buffer)
            return self._inflate_into(buffer)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        except zlib.error as error:
            raise TraceError(f"the gzip data is corrupt ({reason(error)})", path=self.path) from None

    def _inflate_into(self, buffer: memoryview) -> int:
        assert self._inflater is not None
        while True:
            if not self._compressed:
                self._compressed = self._file.read(_COMPRESSED_BLOCK_BYTES)
            at_end = not self._compressed
            if self._inflater.eof:
                if at_end:
                    return 0
                self._inflater = zlib.decompressobj(_GZIP_WBITS)
            # Called at the end too: text that did not fit an earlier buffer is still inside zlib.
            text = self._inflater.decompress(self._compressed, len(buffer))
            self._compressed = self._inflater.unconsumed_tail or self._inflater.unused_data
            if text:
                buffer[: len(text)] = text
                return len(text)
            if at_end and not self._inflater.eof:
                self.cut = True
                return 0


def _opened(path: str | Path) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise _unreadable(str(path), error) from None


def _not_text(start: bytes) -> str:
    """What is wrong with a file of which these are the first bytes; "" for nothing."""
    if not start:
        return "the file is empty"
    if start.startswith(_UTF_16_AND_32_STARTS) or start[1:2] == b"\x00":
        return "UTF-16 or UTF-32 text: a trace is UTF-8"
    return ""


def _unreadable(path: str, error: OSError) -> TraceError:
    reasons: dict[type[OSError], str] = {
        FileNotFoundError: "no such file",
        IsADirectoryError: "is a directory, not a trace file",
        PermissionError: "no permission to read it",
    }
    return TraceError(reasons.get(type(error), reason(error)), path=path)
