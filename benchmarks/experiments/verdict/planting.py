"""Commits with a slow-down of known size: the state-space part of every model takes longer by a fraction.

In: a clone of this repository. Out: its commits, each HEAD plus a change to one file of the package.
"""

import subprocess
from pathlib import Path

PLANTED_IN = Path("perfmamba", "models", "mixers.py")
_SLOWED_SCAN = """

# ----- planted: every call of a scan lasts longer by a fraction of itself -----
import time

_faithful_stand_in = _stand_in


def _stand_in(function, name):
    return _faithful_stand_in(_slowed(function) if MIXER_FUNCTIONS[name] == "ssm" else function, name)


def _slowed(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        began = time.perf_counter()
        result = function(*args, **kwargs)
        end = began + (1 + {fraction}) * (time.perf_counter() - began)
        while time.perf_counter() < end:
            pass
        return result

    return call
"""


def clone(folder: Path) -> None:
    """Clone the repository in the working folder, without its history, into `folder`."""
    _git(Path.cwd(), "clone", "--quiet", "--no-hardlinks", f"file://{Path.cwd()}", str(folder))


def planted(clone: Path, fraction: float) -> str:
    """Commit the slow-down to a branch of its own in the clone; the name of the branch.

    A fraction of 0 plants a comment: another commit, and the same program.
    """
    branch = f"planted-{fraction:g}"
    _git(clone, "checkout", "--quiet", "-B", branch, "origin/HEAD")
    target = clone / PLANTED_IN
    addition = _SLOWED_SCAN.format(fraction=fraction) if fraction else "\n# planted: nothing\n"
    target.write_text(target.read_text() + addition)
    author = ["-c", "user.name=verdict", "-c", "user.email=verdict@localhost"]
    _git(clone, *author, "commit", "--quiet", "--all", "--message", f"Plant a slow-down of {fraction:g}")
    _git(clone, "checkout", "--quiet", "--detach", "origin/HEAD")
    return branch


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
