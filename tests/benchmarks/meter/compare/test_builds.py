"""Where a branch left main: in clones as people and CI make them."""

import pytest

from benchmarks.meter.compare import __main__ as command
from benchmarks.meter.compare.builds import RevisionError, left_main
from tests.benchmarks.meter.repository import Repository


@pytest.fixture
def origin(tmp_path):
    """A repository: main has three commits, and `feature` left it after the second."""
    (tmp_path / "origin").mkdir()
    repository = Repository(tmp_path / "origin", tmp_path)
    repository.git("init", "--quiet", "--initial-branch=main")
    commit(repository, "first", "second")
    repository.git("checkout", "--quiet", "-b", "feature")
    commit(repository, "work")
    repository.git("checkout", "--quiet", "main")
    commit(repository, "third")
    return repository


def commit(repository, *messages):
    for message in messages:
        repository.git("commit", "--quiet", "--allow-empty", "--message", message)


@pytest.fixture
def within(monkeypatch):
    """A function of a repository, which becomes the working folder."""

    def enter(repository):
        monkeypatch.chdir(repository.path)
        return repository

    return enter


def clone(origin, *options, name="clone"):
    origin.git("clone", "--quiet", *options, f"file://{origin.path}", str(origin.home / name))
    return Repository(origin.home / name, origin.home)


def second(repository):
    return repository.git("log", "--all", "--format=%H", "--grep=^second$")


@pytest.mark.parametrize("main", ["main", "master"])
def test_a_local_branch_left_the_local_main(origin, within, main):
    origin.git("branch", "--move", "main", main)
    within(origin).git("checkout", "--quiet", "feature")
    assert left_main() == second(origin)
    assert left_main(main) is None


def test_on_main_there_is_nothing_that_it_left(origin, within):
    within(origin)
    assert left_main() is None
    assert left_main("main~1") is None


@pytest.mark.parametrize("remote", ["origin", "upstream"])
@pytest.mark.parametrize("main", ["main", "master", "trunk"])
def test_a_branch_left_a_remotes_main(origin, within, main, remote):
    """`trunk` is known by the remote's HEAD alone."""
    origin.git("branch", "--move", "main", main)
    within(clone(origin, "--origin", remote)).git("checkout", "--quiet", "feature")
    cloned = Repository(origin.home / "clone", origin.home)
    cloned.git("branch", "--delete", "--force", main)
    assert left_main() == second(origin)
    cloned.git("checkout", "--quiet", "--detach", f"{remote}/{main}")
    assert left_main() is None


def test_commits_of_main_that_were_not_pushed_are_compared_with_the_remote(origin, within):
    cloned = within(clone(origin))
    pushed = cloned.git("rev-parse", "HEAD")
    commit(cloned, "not pushed")
    assert left_main() == pushed


def test_of_a_fork_the_main_that_lies_nearest_counts(origin, within):
    """`origin` is the fork, whose main is behind; `upstream` is where the branch came from."""
    fork = clone(origin, name="fork")
    fork.git("reset", "--quiet", "--hard", "HEAD~2")
    cloned = within(clone(fork))
    cloned.git("remote", "add", "upstream", f"file://{origin.path}")
    cloned.git("fetch", "--quiet", "upstream")
    cloned.git("checkout", "--quiet", "--detach", "upstream/feature")
    assert left_main() == second(origin)


def pull_request(origin, depth):
    """A checkout as actions/checkout makes it: of the merged request alone, detached."""
    origin.git("checkout", "--quiet", "--detach", "main")
    origin.git("merge", "--quiet", "--message", "merged", "feature")
    origin.git("update-ref", "refs/pull/7/merge", "HEAD")
    (origin.home / "ci").mkdir()
    checkout = Repository(origin.home / "ci", origin.home)
    checkout.git("init", "--quiet")
    checkout.git("remote", "add", "origin", f"file://{origin.path}")
    merge = "+refs/pull/7/merge:refs/remotes/pull/7/merge"
    checkout.git("fetch", "--quiet", "--no-tags", *depth, "origin", merge)
    checkout.git("checkout", "--quiet", "refs/remotes/pull/7/merge")
    return checkout


def test_a_shallow_checkout_without_main_says_what_to_fetch(origin, within):
    checkout = within(pull_request(origin, ["--depth=1"]))
    with pytest.raises(RevisionError, match=r"no main branch .*`git fetch --unshallow`.* --base"):
        left_main()
    checkout.git("fetch", "--quiet", "--unshallow")
    assert left_main() == origin.git("rev-parse", "main")


def test_a_whole_checkout_without_main_says_what_to_fetch(origin, within):
    checkout = within(pull_request(origin, []))
    with pytest.raises(RevisionError, match=r"no main branch .*`git fetch origin main:main`.* --base"):
        left_main()
    checkout.git("fetch", "--quiet", "origin", "main:main")
    assert left_main() == origin.git("rev-parse", "main")


def test_a_shallow_main_that_does_not_meet_head_says_what_to_fetch(origin, within):
    origin.git("checkout", "--quiet", "feature")
    cloned = within(clone(origin, "--depth=1", "--no-single-branch"))
    with pytest.raises(
        RevisionError, match=r"no commit in common with refs/remotes/origin/main: .*unshallow"
    ):
        left_main()
    cloned.git("fetch", "--quiet", "--unshallow")
    assert left_main() == second(origin)


def test_without_any_remote_a_base_has_to_be_named(origin, within):
    within(origin).git("branch", "--move", "main", "other")
    with pytest.raises(RevisionError, match=r"no main branch to compare with: name a commit with --base"):
        left_main("feature")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: HEAD is on the main branch: name what to compare it with (--base HEAD~1)"),
        (["--uncommitted"], "error: HEAD is on the main branch: name what to compare it with (--base HEAD)"),
        (["--head", "feature"], "error: this checkout has no main branch to compare with"),
    ],
)
def test_the_command_needs_a_base_it_can_find(origin, within, arguments, message, capsys):
    within(origin)
    if "--head" in arguments:
        origin.git("branch", "--move", "main", "other")
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("checkout", ["main", "HEAD~0"])
def test_a_shallow_clone_of_main_says_what_to_fetch(origin, within, checkout, capsys):
    """The commit before HEAD, which would be the natural base, is not there."""
    cloned = within(clone(origin, "--depth=1"))
    cloned.git("checkout", "--quiet", checkout)
    assert command.main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: HEAD is on the main branch, and the commit before it was not fetched: ")
    assert "`git fetch --unshallow`" in said
    cloned.git("fetch", "--quiet", "--unshallow")
    assert command.main([]) == 2
    assert "--base HEAD~1" in capsys.readouterr().err
