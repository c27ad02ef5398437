"""Notes: what is known of a cell beyond its samples, on the way to the file beside the results.

asv runs each cell in a process of its own, which it forks or starts, and takes nothing from it but samples
and text. So notes go two ways:

- A benchmark's process has `note`, which appends a line to a file. The file is the only way from there to
  the process that saves results, and METER_NOTES names it. Without that variable `note` does nothing, so a
  suite runs the same under plain asv.
- The process that saves results has an `Inbox`. It makes that file, and keeps its own notes in memory.
"""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

NOTES_VARIABLE = "METER_NOTES"


def note(kind: str, **fields: object) -> None:
    """Append one line, `{"kind": kind, **fields}`, to the file that METER_NOTES names, if any.

    The line is one write to a file opened for appending, so lines of several processes never mix.

    Raises:
        ValueError: if a number in `fields` is not finite.
        TypeError: if JSON cannot hold a value in `fields`.
    """
    line = _line(kind, fields) + "\n"
    path = os.environ.get(NOTES_VARIABLE)
    if not path:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class Inbox:
    """The notes that wait for the results they belong to; gone when the process ends.

    Attributes:
        path: the file that the processes of benchmarks append to.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="meter-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.path = folder / "notes.jsonl"
        self._taken_in: list[str] = []

    def open(self) -> None:
        """Have the processes that are started from now on write to this inbox."""
        os.environ[NOTES_VARIABLE] = str(self.path)

    def add(self, kind: str, **fields: object) -> None:
        """Add a note of this process, after those that benchmarks wrote until now.

        Raises:
            ValueError: if a number in `fields` is not finite.
            TypeError: if JSON cannot hold a value in `fields`.
        """
        self._taken_in = [*self.lines(), _line(kind, fields)]
        self.path.unlink(missing_ok=True)

    def lines(self) -> list[str]:
        """Return the notes in the order they came, a line of JSON each; one may be damaged."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            text = ""
        return [*self._taken_in, *filter(None, text.split("\n"))]

    def clear(self) -> None:
        """Forget all notes: they were saved."""
        self.path.unlink(missing_ok=True)
        self._taken_in.clear()


def _line(kind: str, fields: dict[str, object]) -> str:
    return json.dumps({"kind": kind, **fields}, allow_nan=False)
