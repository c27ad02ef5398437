"""HTML elements from Python values, so that no text is ever escaped by hand or forgotten to be."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

Child = ET.Element | str
"""What an element may hold: another element, or text."""


def element(tag: str, *children: Child, **attributes: str | None) -> ET.Element:
    """An HTML element.

    Args:
        tag: its name.
        children: text and elements, in order.
        attributes: those that are None or empty are left out; `class_` and `data_x` stand for `class` and
            `data-x`.
    """
    found = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value}
    made = ET.Element(tag, found)
    last = None
    for child in children:
        if isinstance(child, ET.Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return made


def link(text: str, href: str, **attributes: str | None) -> ET.Element:
    """A link."""
    return element("a", text, href=href, **attributes)


def scrolling_table(
    caption: str, head: Iterable[ET.Element], body: Iterable[ET.Element], *, groups: Iterable[int] = ()
) -> ET.Element:
    """A table that scrolls sideways by itself where the page is too narrow for it.

    Args:
        caption: what it shows.
        head: rows.
        body: rows.
        groups: how many columns belong together, from the left; a rule divides the groups.
    """
    columns = [element("colgroup", span=str(span)) for span in groups]
    table = element("table", *columns, element("thead", *head), element("tbody", *body), class_="table")
    scrolled = element("div", table, class_="table-scroll", tabindex="0")
    return element("figure", element("figcaption", caption), scrolled)


def html_text(made: ET.Element) -> str:
    """The element as HTML."""
    return ET.tostring(made, encoding="unicode", method="html")
