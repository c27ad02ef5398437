"""Edits of the pages that asv ships, in the folder that `asv publish` has just written.

In: a file and the exact texts to replace. Out: the file, changed; or an error that names what a new asv no
longer has, and nothing changed.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from asv.util import UserError


@dataclass(frozen=True)
class Edit:
    """One exact replacement.

    Attributes:
        old: text that the file must hold exactly `times` times.
        new: what stands there instead.
        times: how often.
    """

    old: str
    new: str
    times: int = 1


def before(anchor: str, addition: str) -> Edit:
    """The edit that puts a text before the only `anchor` of a file."""
    return Edit(anchor, addition + anchor)


def after(anchor: str, addition: str) -> Edit:
    """The edit that puts a text behind the only `anchor` of a file."""
    return Edit(anchor, anchor + addition)


def edit_page(page: Path, *edits: Edit) -> None:
    """Apply all edits to a page of asv, in order.

    Raises:
        UserError: a text is not there as often as its edit says; the file is then as it was.
    """
    text = page.read_text(encoding="utf-8")
    for edit in edits:
        found = text.count(edit.old)
        if found != edit.times:
            message = (
                f"asv {version('asv')} is not the asv that this site was made for: its {page.name} has "
                f"{found} times, not {edit.times}, the text {edit.old!r}. Install the asv of "
                "constraints.txt, or adapt benchmarks/meter/site to the new page"
            )
            raise UserError(message)
        text = text.replace(edit.old, edit.new)
    page.write_text(text, encoding="utf-8")
