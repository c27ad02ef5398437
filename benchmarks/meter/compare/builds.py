"""Two commits side by side: each one's packages, installed into a folder of its own.

In: a revision of the git repository in the working folder. Out: a folder to put first on a worker's import
path. torch and everything else comes from the Python that runs the comparison. Folders are kept, by commit,
under .asv/compare.
"""

import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(".asv", "compare")
UNCOMMITTED = "uncommitted"


class RevisionError(Exception):
    """A revision does not exist, or its packages cannot be built; the message says which and why."""


@dataclass(frozen=True)
class Build:
    """The installed packages of one commit.

    Attributes:
        label: how a person calls it, such as "HEAD" or "main".
        commit: its full hash.
        folder: what goes on the import path.
    """

    label: str
    commit: str
    folder: Path


def build(revision: str) -> Build:
    """Install the packages of a revision, without dependencies, unless its folder is there already.

    Args:
        revision: whatever git understands; `UNCOMMITTED` is the working tree's tracked files as they are.

    Raises:
        RevisionError: if git does not know the revision, or pip cannot build it.
    """
    commit = resolve(revision)
    folder = (FOLDER / commit).resolve()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as scratch:
            _install(commit, Path(scratch))
            Path(scratch, "installed").rename(folder)
    return Build(revision, commit, folder)


def resolve(revision: str) -> str:
    """The full hash of a revision; for `UNCOMMITTED`, of a commit made of the working tree, on no branch."""
    if revision == UNCOMMITTED:
        return _git("stash", "create") or resolve("HEAD")
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except RevisionError:
        raise RevisionError(
            f"git knows no revision {revision!r} here; name a branch, tag or commit"
        ) from None


def left_main() -> str | None:
    """The commit at which HEAD's branch left main; None on main itself, and where there is no main."""
    head = resolve("HEAD")
    for main in ("origin/main", "main"):
        try:
            left = _git("merge-base", main, "HEAD")
        except RevisionError:
            continue
        if left != head:
            return left
    return None


def _install(commit: str, scratch: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(_run("git", "archive", commit))) as archive:
        archive.extractall(scratch / "source", filter="data")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    _run(*pip, "--target", str(scratch / "installed"), str(scratch / "source"))


def _git(*arguments: str) -> str:
    return _run("git", *arguments).decode().strip()


def _run(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RevisionError(f"`{' '.join(command[:4])} ...` failed: {said[-1]}")
    return done.stdout
