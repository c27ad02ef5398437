"""Pages of our own in asv's site.

In: a name, a label and a body. Out: an entry in the bar of asv's page that shows the body (`#/name`), and the
same body as a page by itself, which needs no script: `name/index.html`.

asv lists the pages of its plugins in index.json, but nothing reads that list: the bar is part of index.html.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from benchmarks.meter.site.edits import before, edit_page
from benchmarks.meter.site.markup import element, html_text, link

_STATIC = Path(__file__).parent / "static"
_SCRIPT = "pages.js"
_STYLE = "pages.css"


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        name: its address, `#/name` and `name/index.html`; a lower-case word.
        label: its entry in the bar.
        title: what it shows, in a line.
        body: what it shows; links within the site start with `#`.
    """

    name: str
    label: str
    title: str
    body: Element


def add_page(html_dir: Path, page: Page) -> None:
    """Add a page to the site that asv has written to `html_dir`.

    Raises:
        UserError: asv's index.html has changed.
    """
    _add_static_page(html_dir, page)
    _add_to_index(html_dir, page)


def _add_to_index(html_dir: Path, page: Page) -> None:
    index = html_dir / "index.html"
    display = element(
        "div",
        page.body,
        id=f"{page.name}-display",
        class_="site-page",
        style="display: none",
        data_page=page.name,
        data_title=page.title,
    )
    entry = element("li", link(page.label, f"#/{page.name}"), id=f"nav-li-{page.name}")
    edit_page(
        index,
        before('        <li id="nav-li-graphdisplay">', f"        {html_text(entry)}\n"),
        before("    <!-- A modal dialog box", f"    {html_text(display)}\n\n"),
    )
    if not (html_dir / _SCRIPT).exists():
        for file in (_SCRIPT, _STYLE):
            shutil.copy(_STATIC / file, html_dir)
        loads = f'    <script src="{_SCRIPT}"></script>\n    <link href="{_STYLE}" rel="stylesheet"/>\n'
        edit_page(index, before("  </head>", loads))


def _add_static_page(html_dir: Path, page: Page) -> None:
    """Write `name/index.html`; its base address makes the `#` links those of asv's page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("base", href="../index.html"),
        element("title", page.title),
        element("link", rel="stylesheet", href=_STYLE),
        element("link", rel="icon", href="swallow.ico"),
    )
    body = element("body", element("p", link("All benchmarks", "#/")), page.body, class_="site-page")
    folder = html_dir / page.name
    folder.mkdir()
    whole = html_text(element("html", head, body, lang="en"))
    (folder / "index.html").write_text(f"<!doctype html>\n{whole}\n", encoding="utf-8")
