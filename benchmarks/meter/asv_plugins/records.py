"""Keeps beside asv's results what asv has no place for; `asv.conf.json` loads this as a plugin.

In: the notes of benchmark processes (`notes`), the versions of what is installed, and asv's own saving.
Out: beside each result file X.json a sidecar X.notes.jsonl, one JSON object a line; beside each machine's
results its benchmarks (`definitions`).

A line of the kind "versions" holds for the lines that follow it, up to the next one. Of the notes that say
the same thing of the same cell, the newest stays. Every file that asv writes as JSON is written whole or not
at all, so results that are saved often survive a kill. Stock asv reads all of it as if nothing were added.
"""

import atexit
import functools
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asv import util
from asv.console import log
from asv.results import Results, get_filename

from benchmarks.meter.asv_plugins import definitions
from benchmarks.meter.asv_plugins.notes import NOTES_VARIABLE
from benchmarks.meter.asv_plugins.versions import versions
from benchmarks.meter.host import replacing

Note = dict[str, Any]

_VERSIONS = "versions"
# A cell was measured or skipped: one says that the other is no longer true.
_SAME_KIND = {"skipped": "cell"}
_IDENTITY = ("benchmark", "params", "variant_axis", "baseline", "variant", "measure")

_stock_save = Results.save
_stock_rm = Results.rm
_stock_write_json = util.write_json


class _Line(NamedTuple):
    """A line of a sidecar; without a note if it cannot be read."""

    text: str
    note: Note | None


def setup() -> None:
    """Collect notes from now on, and keep them whenever asv saves; asv calls it when it loads the plugin."""
    os.environ[NOTES_VARIABLE] = str(_inbox())
    util.write_json = _write_json_whole
    Results.save = _save
    Results.rm = _rm
    definitions.install()


def sidecar(result_file: str | os.PathLike[str]) -> Path:
    """Where the notes of a result file are."""
    path = Path(result_file)
    return path.with_name(f"{path.stem}.notes.jsonl")


def read_notes(result_file: str | os.PathLike[str]) -> list[Note]:
    """The notes beside a result file, in the order of their lines; none if there are none.

    A line that cannot be read is left out, with a warning.
    """
    return [line.note for line in _read_lines(sidecar(result_file)) if line.note]


@functools.cache
def _inbox() -> Path:
    """The file that this process's benchmarks write their notes to; goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="meter-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "notes.jsonl"


def _write_json_whole(
    path: str | os.PathLike[str], data: object, api_version: int | None = None, compact: bool = False
) -> None:
    with replacing(path) as partial:
        _stock_write_json(partial, data, api_version, compact)


def _save(self: Results, result_dir: str | os.PathLike[str]) -> None:
    """Stand-in for `Results.save`: saves, then moves the notes that came since the last time beside it."""
    _stock_save(self, result_dir)
    definitions.save_discovered(result_dir, self.params["machine"])
    fresh = [line for line in _read_lines(_inbox()) if line.note]
    if fresh or _measured(self):
        _keep(sidecar(_result_file(self, result_dir)), fresh)
        _inbox().unlink(missing_ok=True)


def _rm(self: Results, result_dir: str | os.PathLike[str]) -> None:
    _stock_rm(self, result_dir)
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
    """The lines without notes that a later one replaces, and without versions that no note is left of.

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
    numbered = enumerate(text.split("\n"), start=1)
    return [_parsed(content, path.name, number) for number, content in numbered if content]


def _parsed(text: str, file_name: str, number: int) -> _Line:
    try:
        note = json.loads(text)
    except ValueError:
        note = None
    if not isinstance(note, dict) or not isinstance(note.get("kind"), str):
        _warn(f"{file_name}, line {number}: this is no note; the line is left as it is")
        note = None
    return _Line(text, note)


def _line(note: Note) -> _Line:
    return _Line(json.dumps(note), note)


@functools.cache
def _warn(message: str) -> None:
    """Warn once: a damaged file may be read again after every cell."""
    log.warning(message)
