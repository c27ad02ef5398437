"""Charts as files: SVG for papers and pages, HTML to point at, both without the network.

In: an Altair chart. Out: files. Altair is optional (the extra `report`): `require_altair` gives it, or says
how to get it.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from perfmamba.errors import InputError
from perfmamba.files import replacing


def require_altair() -> Any:
    """The module `altair`, which can save charts.

    Raises:
        InputError: if it, or vl-convert that draws for it, is not installed.
    """
    try:
        import_module("vl_convert")
        return import_module("altair")
    except ImportError as error:
        raise InputError(
            f"a chart needs the package {error.name}; pip install 'perfmamba[report]'"
        ) from error


def save_chart(chart: Any, beside: Path) -> tuple[Path, Path]:
    """Write a chart as SVG and as HTML that holds all the code it needs.

    Args:
        chart: of Altair.
        beside: the files get this path with the endings .svg and .html in place of its own.

    Raises:
        InputError: if a file cannot be written.
    """
    drawing, page = beside.with_suffix(".svg"), beside.with_suffix(".html")
    for path, options in ((drawing, {"format": "svg"}), (page, {"format": "html", "inline": True})):
        with replacing(path) as partial:
            chart.save(str(partial), **options)
    return drawing, page
