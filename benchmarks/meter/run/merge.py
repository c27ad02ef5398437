"""Merging a folder of results into another: those of a GPU box into the project's.

In: two folders like asv's `results_dir`. Out: the target with every machine of the source, merged file by
file and cell by cell. Each file is written whole or not at all.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asv import util
from asv.benchmarks import Benchmarks
from asv.results import Results

from benchmarks.meter.asv_plugins.definitions import FILE_NAME, save_definitions
from benchmarks.meter.asv_plugins.records import read_notes, sidecar
from benchmarks.meter.host import replacing
from benchmarks.meter.run.merge_cells import Measured, merge


def merge_trees(source: Path, target: Path, date_of: Callable[[str], int | None]) -> list[Path]:
    """Merge the results under `source` into `target`.

    Args:
        source: a folder of results, with a folder for each machine and a machine.json in it.
        target: another such folder, which may be empty or missing.
        date_of: returns the date of a commit in milliseconds since 1970, None if it is not known here. It
            replaces the date in the source, which a box without git may not have known.

    Returns:
        the result files of the target that were merged into.

    Raises:
        UserError: if `source` holds no results, or two files of one name are of different commits.
    """
    machines = [file.parent for file in sorted(source.glob("*/machine.json"))]
    if not machines:
        raise util.UserError(f"{source} holds no results: no folder in it has a machine.json")
    merged = [
        _merge_file(file, target, date_of) for folder in machines for file in sorted(folder.glob("*-*.json"))
    ]
    for folder in machines:
        _merge_machine(folder, target)
    benchmarks = Benchmarks.get_benchmark_file_path(source)
    if Path(benchmarks).exists() and not Path(Benchmarks.get_benchmark_file_path(target)).exists():
        _copy(Path(benchmarks), target / Path(benchmarks).name)
    return merged


def _merge_file(file: Path, target: Path, date_of: Callable[[str], int | None]) -> Path:
    ours_file = target / file.parent.name / file.name
    theirs = _read(file)
    nothing = Measured({**theirs.results, "results": {}, "durations": {}})
    ours = _read(ours_file) if ours_file.exists() else nothing
    for key in ("commit_hash", "env_name"):
        if ours.results[key] != theirs.results[key]:
            raise util.UserError(f"{file} has another {key} than {ours_file}, so it was not merged")
    both = merge(ours, theirs)
    date = date_of(both.results["commit_hash"])
    results = both.results if date is None else {**both.results, "date": date}
    with replacing(sidecar(ours_file)) as notes_file, replacing(ours_file) as results_file:
        notes_file.write_text("".join(f"{json.dumps(note)}\n" for note in both.notes), encoding="utf-8")
        util.write_json(results_file, results, Results.api_version, compact=True)
    return ours_file


def _read(file: Path) -> Measured:
    return Measured(util.load_json(file, api_version=Results.api_version), read_notes(file))


def _merge_machine(folder: Path, target: Path) -> None:
    machine = target / folder.name / "machine.json"
    if not machine.exists():
        _copy(folder / "machine.json", machine)
    if (folder / FILE_NAME).exists():
        save_definitions(target, folder.name, {**_definitions(machine.parent), **_definitions(folder)})


def _definitions(folder: Path) -> dict[str, Any]:
    path = folder / FILE_NAME
    found: dict[str, Any] = util.load_json(path) if path.exists() else {}
    return found


def _copy(file: Path, to: Path) -> None:
    with replacing(to) as partial:
        shutil.copyfile(file, partial)
