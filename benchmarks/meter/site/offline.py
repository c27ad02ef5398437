"""A site that needs no network: the scripts that asv's page loads from public servers, carried along.

In: the folder that `asv publish` has just written. Out: the same, with the scripts and the style sheet of
`assets/` in `vendor/`, and an index.html that loads those.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from asv.util import UserError

from benchmarks.meter.site.edits import Edit, edit_page

ASSETS = Path(__file__).parent / "assets"
VENDOR = "vendor"

_REMOTE_RESOURCE = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)\s*=\s*["']((?:https?:)?//[^"']+)"""
)


@dataclass(frozen=True)
class Carried:
    """A file that asv's page loads from elsewhere.

    Attributes:
        file: its path in `assets/`.
        url: where asv's page loads it from.
        integrity: the hash that asv's page asks for; of our file as well, but for those in `OTHER_BUILDS`.
    """

    file: str
    url: str
    integrity: str

    def edit(self) -> Edit:
        """The edit that makes the page load our file."""
        remote = f'"{self.url}" integrity="{self.integrity}" crossorigin="anonymous"'
        return Edit(remote, f'"{VENDOR}/{self.file}"')


_CDNJS = "https://cdnjs.cloudflare.com/ajax/libs"
_JSDELIVR = "https://cdn.jsdelivr.net/npm"

CARRIED = (
    Carried(
        "jquery/jquery.min.js",
        "https://code.jquery.com/jquery-3.3.1.min.js",
        "sha256-FgpCb/KJQlLNfOu91ta32o/NMZxltwRo8QtmkMRdAu8=",
    ),
    Carried(
        "flot/jquery.flot.js",
        f"{_CDNJS}/flot/0.8.3/jquery.flot.min.js",
        "sha512-eO1AKNIv7KSFl5n81oHCKnYLMi8UV4wWD1TcLYKNTssoECDuiGhoRsQkdiZkl8VUjoms2SeJY7zTSw5noGSqbQ==",
    ),
    Carried(
        "flot/jquery.flot.time.js",
        f"{_CDNJS}/flot/0.8.3/jquery.flot.time.min.js",
        "sha512-lcRowrkiQvFli9HkuJ2Yr58iEwAtzhFNJ1Galsko4SJDhcZfUub8UxGlMQIsMvARiTqx2pm7g6COxJozihOixA==",
    ),
    Carried(
        "flot/jquery.flot.selection.js",
        f"{_CDNJS}/flot/0.8.3/jquery.flot.selection.min.js",
        "sha512-3EUG0t3qfbLaGN3FXO86i+57nvxHOXvIb/xMSKRrCuX/HXdn1bkbqwAeLd6U1PDmuEB2cnKhfM+SGLAVQbyjWQ==",
    ),
    Carried(
        "flot/jquery.flot.categories.js",
        f"{_CDNJS}/flot/0.8.3/jquery.flot.categories.min.js",
        "sha512-x4QGSZkQ57pNuICMFFevIhDer5NVB5eJCRmENlCdJukMs8xWFH8OHfzWQVSkl9VQ4+4upPPTkHSAewR6KNMjGA==",
    ),
    Carried(
        "flot-orderbars/jquery.flot.orderBars.js",
        f"{_JSDELIVR}/flot-orderbars@1.0.0/js/jquery.flot.orderBars.js",
        "sha256-OXNbT0b5b/TgglckAfR8VaJ2ezZv0dHoIeRKjYMKEr8=",
    ),
    Carried(
        "stupidtable/stupidtable.js",
        f"{_CDNJS}/stupidtable/1.0.1/stupidtable.min.js",
        "sha512-GM3Ds3dUrgkpKVXc+4RxKbQDoeTemdlzXxn5d/QCOJT6EFdEufu1UTVBpIFDLd6YjIhSThNe+zpo1mwqzNq4GQ==",
    ),
    Carried(
        "blueimp-md5/md5.min.js",
        f"{_CDNJS}/blueimp-md5/2.19.0/js/md5.min.js",
        "sha512-8pbzenDolL1l5OPSsoURCx9TEdMFTaeFipASVrMYKhuYtly+k3tcsQYliOEKTmuB1t7yuzAiVo+yd7SJz+ijFQ==",
    ),
    Carried(
        "bootstrap/bootstrap.min.js",
        f"{_JSDELIVR}/bootstrap@3.1.1/dist/js/bootstrap.min.js",
        "sha256-iY0FoX8s/FEg3c26R6iFw3jAtGbzDwcA5QJ1fiS0A6E=",
    ),
    Carried(
        "bootstrap/bootstrap.min.css",
        f"{_JSDELIVR}/bootstrap@3.1.1/dist/css/bootstrap.min.css",
        "sha256-6VA0SGkrc43SYPvX98q/LhHwm2APqX5us6Vuulsafps=",
    ),
)
"""Everything that the index.html of asv 0.6.6 loads from other servers."""

OTHER_BUILDS = frozenset(carried.file for carried in CARRIED if carried.file.startswith(("flot/", "stupid")))
"""Not byte for byte what asv asks for: see `assets/README.md`."""


def carry_assets(html_dir: Path) -> None:
    """Make the site in `html_dir` load nothing from other servers.

    Raises:
        UserError: asv's page has changed: it lacks a script known here, or loads one that is not.
    """
    shutil.copytree(ASSETS, html_dir / VENDOR)
    page = html_dir / "index.html"
    edit_page(page, *(carried.edit() for carried in CARRIED))
    if remote := remote_resources(page.read_text(encoding="utf-8")):
        message = (
            f"the index.html of this asv also loads {', '.join(remote)}: the site would not work without a "
            "network; put the file into benchmarks/meter/site/assets and list it in offline.py"
        )
        raise UserError(message)


def remote_resources(html: str) -> list[str]:
    """The addresses on other servers that a page loads by itself (links to follow do not count)."""
    return _REMOTE_RESOURCE.findall(html)
