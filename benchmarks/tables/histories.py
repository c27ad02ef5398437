"""The results that asv's site shows, as `perfmamba.report` reads them.

In: asv's configuration, repository and definitions, as a publisher gets them. Out: the histories of every
machine, what a link must name to show one of them, and the line that says what a history is of.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from benchmarks.meter.site.markup import element
from perfmamba.report.asv_results import Definitions, ResultHistory, StoredResults, read_histories
from perfmamba.report.result_entries import short

Address = Mapping[str, str | None]
"""What a link must name to show one history only, by asv's names; None where a result lacks one."""


def site_histories(
    conf: Any, repo: Any, definitions: Definitions, revisions: Mapping[str, int]
) -> list[ResultHistory]:
    """The histories on the branches that the site shows, one for each setting, sorted by machine.

    Args:
        conf: asv's configuration.
        repo: asv's repository.
        definitions: of the benchmarks.
        revisions: the place in history of each commit.
    """
    on_branches = {commit for branch in conf.branches for commit in repo.get_branch_commits(branch)}
    order = {commit: place for commit, place in revisions.items() if commit in on_branches}
    machines = sorted(file.parent for file in Path(conf.results_dir).glob("*/machine.json"))
    # asv itself warns of the files that it cannot read when it publishes
    found = [read_histories(folder, definitions, order, pass_over_unreadable=True) for folder in machines]
    return [history for histories in found for history in histories if history.commits[0].place >= 0]


def address(history: ResultHistory, histories: Iterable[ResultHistory]) -> dict[str, str | None]:
    """What a link must name to show this history only: the machine, and what varies on that machine."""
    machine = history.where["machine"]
    others = [other.where for other in histories if other.where["machine"] == machine]
    names = sorted({name for where in others for name in where})
    varying = [name for name in names if len({where.get(name) for where in others}) > 1]
    return {name: history.where.get(name) for name in ("machine", *varying)}


def provenance(history: ResultHistory, results: StoredResults) -> Element:
    """The line that names machine, GPU, commit, date and versions of results."""
    facts = {
        "GPU": history.where.get("gpu", ""),
        "CPU": history.where.get("cpu", ""),
        "commit": short(results),
        "committed": f"{datetime.fromtimestamp(results.date_ms / 1000, tz=UTC):%Y-%m-%d}",
        "Python": results.versions.get("python") or history.where.get("python", ""),
    }
    facts |= {
        name: str(version) for name, version in results.versions.items() if name not in {"python", "gpu"}
    }
    entries = [
        element("div", element("dt", name), element("dd", text)) for name, text in facts.items() if text
    ]
    return element("dl", *entries, class_="provenance")
