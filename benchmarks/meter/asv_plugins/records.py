"""The asv plugin that keeps, beside asv's results, what asv has no place for.

In: the notes of benchmarks and of this process (`notes`), the versions of the installed packages, and asv's
own saving. Out: beside each result file X.json a file X.notes.jsonl, one JSON object a line; beside each
machine's results its benchmarks (`definitions`).

A line of the kind "versions" holds for the lines that follow it, up to the next such line. When two notes
say the same thing of the same cell, the newer one stays. Every file that asv writes as JSON is written whole
or not at all, so results that are saved often survive a kill. Stock asv ignores the added files.
"""

import functools
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asv.console import log
from asv.results import Results, get_filename

from benchmarks.meter.asv_plugins import definitions, patches
from benchmarks.meter.asv_plugins.notes import Inbox
from benchmarks.meter.asv_plugins.versions import versions
from benchmarks.meter.host import replacing

Note = dict[str, Any]

_VERSIONS = "versions"
# A cell is either measured or skipped: the note of one replaces that of the other.
_SAME_KIND = {"skipped": "cell"}
_IDENTITY = ("benchmark", "params", "variant_axis", "baseline", "variant", "measure")


class _Line(NamedTuple):
    """A line of a file of notes; `note` is None if the line cannot be read."""

    text: str
    note: Note | None


def setup() -> None:
    """Collect notes and keep them whenever asv saves; asv calls this when it loads the plugin."""
    inbox().open()
    patches.apply(
        {
            patches.WRITE_JSON: _write_json_whole,
            patches.RESULTS_SAVE: _save,
            patches.RESULTS_REMOVE: _rm,
        }
    )
    definitions.install()


def sidecar(result_file: str | os.PathLike[str]) -> Path:
    """Return the path of the notes that belong to a result file."""
    path = Path(result_file)
    return path.with_name(f"{path.stem}.notes.jsonl")


def read_notes(result_file: str | os.PathLike[str]) -> list[Note]:
    """Return the notes beside a result file, in the order of their lines; an empty list without such a file.

    A line that cannot be read is left out, with a warning.
    """
    return [line.note for line in _read_lines(sidecar(result_file)) if line.note]


@functools.cache
def inbox() -> Inbox:
    """Return the inbox of this process: the notes that go beside the results that are saved next."""
    return Inbox()


def _write_json_whole(
    path: str | os.PathLike[str], data: object, api_version: int | None = None, compact: bool = False
) -> None:
    with replacing(path) as partial:
        patches.WRITE_JSON.stock(partial, data, api_version, compact)


def _save(self: Results, result_dir: str | os.PathLike[str]) -> None:
    """Stand-in for `Results.save`: save, then put the notes that came since the last time beside the file."""
    patches.RESULTS_SAVE.stock(self, result_dir)
    definitions.save_discovered(result_dir, self.params["machine"])
    fresh = [line for line in _parsed_lines(inbox().lines(), "a note of a benchmark") if line.note]
    if fresh or _measured(self):
        _keep(sidecar(_result_file(self, result_dir)), fresh)
        inbox().clear()


def _rm(self: Results, result_dir: str | os.PathLike[str]) -> None:
    patches.RESULTS_REMOVE.stock(self, result_dir)
    sidecar(_result_file(self, result_dir)).unlink(missing_ok=True)


def _result_file(results: Results, result_dir: str | os.PathLike[str]) -> Path:
    return Path(result_dir, get_filename(results.params["machine"], results.commit_hash, results.env_name))


def _measured(results: Results) -> bool:
    """True if a benchmark was run; `asv rm` also saves, maybe for another machine with other versions."""
    return bool(results.errcode)


def _keep(path: Path, fresh: Iterable[_Line]) -> None:
    stored = _read_lines(path)
    lines = compacted([*stored, _line({"kind": _VERSIONS, **versions()}), *fresh])
    if lines != stored:
        with replacing(path) as partial:
            text = "".join(f"{line.text}\n" for line in lines)
            partial.write_text(text, encoding="utf-8", errors="surrogateescape")


def compacted(lines: list[_Line]) -> list[_Line]:
    """Drop the notes that a later line replaces, and the versions that hold for no line any more.

    Lines that cannot be read stay as they are.
    """
    newest = {_identity(line.note): index for index, line in enumerate(lines) if line.note}
    current = [
        line
        for index, line in enumerate(lines)
        if not line.note or _is_versions(line) or newest[_identity(line.note)] == index
    ]
    kept = []
    in_force = None
    for line, following in itertools.zip_longest(current, current[1:]):
        if _is_versions(line):
            if line.note == in_force or (following and _is_versions(following)):
                continue
            in_force = line.note
        kept.append(line)
    return kept


def _is_versions(line: _Line) -> bool:
    return line.note is not None and line.note["kind"] == _VERSIONS


def _identity(note: Mapping[str, Any]) -> str:
    kind = _SAME_KIND.get(note["kind"], note["kind"])
    return json.dumps([kind, *(note.get(field) for field in _IDENTITY)])


def _read_lines(path: Path) -> list[_Line]:
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    return _parsed_lines(text.split("\n"), path.name)


def _parsed_lines(texts: Iterable[str], source: str) -> list[_Line]:
    return [_parsed(text, f"{source}, line {number}") for number, text in enumerate(texts, start=1) if text]


def _parsed(text: str, where: str) -> _Line:
    try:
        note = json.loads(text)
    except ValueError:
        note = None
    if not isinstance(note, dict) or not isinstance(note.get("kind"), str):
        _warn(f"{where}: this is not a note (a JSON object with a kind); the line is left as it is")
        note = None
    return _Line(text, note)


def _line(note: Note) -> _Line:
    return _Line(json.dumps(note), note)


@functools.cache
def _warn(message: str) -> None:
    """Warn once: a damaged file may be read again after every cell."""
    log.warning(message)
