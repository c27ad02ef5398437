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
_REMOTES = "refs/remotes/"


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


def left_main(revision: str = "HEAD") -> str | None:
    """The commit at which a revision's branch left the main branch; None if it lies on the main branch.

    A remote's main branch counts before a local one, which may be behind. Where there are several, as in a
    fork, the commit that lies nearest to the revision counts.

    Raises:
        RevisionError: if there is no main branch here, or no common commit with it, as in a shallow clone.
    """
    commit = resolve(revision)
    mains = _main_branches()
    if not mains:
        raise RevisionError(f"this checkout has no main branch to compare with: {remedy()}")
    left = {main: base for main in mains if (base := _merge_base(main, commit))}
    if not left:
        raise RevisionError(f"{revision} has no commit in common with {' or '.join(mains)}: {remedy()}")
    of_remotes = {base for main, base in left.items() if main.startswith(_REMOTES)}
    if commit in (of_remotes or left.values()):
        return None
    return min(set(left.values()) - {commit}, key=lambda base: _distance(base, commit))


def remedy() -> str:
    """How to get at the main branch and its history."""
    remotes = _git("remote").splitlines()
    if _is_shallow():
        fetch = (
            "fetch the whole history (`git fetch --unshallow`; `fetch-depth: 0` for actions/checkout), or "
        )
    else:
        fetch = f"fetch it (`git fetch {remotes[0]} main:main`), or " if remotes else ""
    return f"{fetch}name a commit with --base"


def was_not_fetched(revision: str) -> bool:
    """Whether a revision may exist, but history was cut off before it when this clone fetched it."""
    try:
        resolve(revision)
    except RevisionError:
        return _is_shallow()
    return False


def _is_shallow() -> bool:
    return _git("rev-parse", "--is-shallow-repository") == "true"


def _main_branches() -> list[str]:
    """The main branch of each remote and of this clone: "main", else "master", else the remote's default."""
    listed = _git("for-each-ref", "--format=%(refname) %(symref)").splitlines()
    refs = {name: target for name, _, target in (line.partition(" ") for line in listed)}
    homes = [f"{_REMOTES}{remote}/" for remote in _git("remote").splitlines()] + ["refs/heads/"]
    found = []
    for home in homes:
        named = [f"{home}{name}" for name in ("main", "master")]
        candidates = [*named, refs.get(f"{home}HEAD", "")]
        found += [candidate for candidate in candidates if candidate in refs][:1]
    return found


def _merge_base(main: str, commit: str) -> str | None:
    """The newest commit that both have; None if their histories, as far as they are here, do not meet."""
    try:
        return _git("merge-base", main, commit)
    except RevisionError:
        return None


def _distance(base: str, commit: str) -> int:
    return int(_git("rev-list", "--count", f"{base}..{commit}"))


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
