"""What can be done with this checkout: `nox` checks it, `nox -s bench` measures it; `nox -l` lists all.

Each session installs what it needs, at the versions of constraints.txt, into its own environment with pip.
(uv is not used: it passes over the torch that pip is told to find, and would fetch the CUDA build.)
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = Path("constraints.txt").resolve()
HTA = "HolisticTraceAnalysis==0.5.0"


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint rules."""
    _install(session, "--group", "lint")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the packages, strict."""
    _install(session, "--editable", ".", "--group", "types")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests; arguments after -- go to pytest."""
    _install(session, "--editable", ".[bench,nvml]", "--group", "tests")
    session.run("pytest", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel as users get it: built, installed with its declared dependencies only, imported elsewhere."""
    with TemporaryDirectory() as folder:
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ".")
        (built,) = Path(folder).glob("*.whl")
        _install(session, str(built))
        _install(session, "--force-reinstall", "--no-deps", str(built))  # the version may not have changed
        with session.chdir(folder):
            session.run("python", "-c", "import perfmamba, perfmamba_kernels")
            # A top-level `kernels` of ours would shadow the Hugging Face package that transformers imports.
            session.run("python", "-c", "import kernels", success_codes=[1], silent=True)
            session.run("perfmamba", "--help")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure HEAD with the quick asv suite, print Table 1, write the site.

    Arguments after -- go to `asv run`: `nox -s bench -- --bench components`.
    """
    _install(session, "--editable", ".[bench]")
    if session.run("git", "status", "--short", "perfmamba", "kernels", external=True, silent=True):
        session.warn("asv measures the commit HEAD: it leaves out the uncommitted changes to the packages")
    session.run("asv", "run", "HEAD", "--show-stderr", *session.posargs)
    profile = ["mamba-130m", "mamba2-130m", "--layers", "2", "--seqlen", "64", "512", "--batch", "1"]
    # one thread: two wait for each other whenever other work takes a core from one of them
    session.run("perfmamba", "profile", *profile, "--threads", "1", "--out", "runs/bench", "--overwrite")
    session.run("perfmamba", "table", "1", "runs/bench")
    _publish(session)


@nox.session(default=False)
def bench_parse(session: nox.Session) -> None:
    """Read a large trace with perfmamba and with HolisticTraceAnalysis, in turns.

    Arguments after -- go to the comparison: `nox -s bench_parse -- --base TRACE`.
    """
    _install(session, "--editable", ".")
    hta = Path(session.create_tmp(), "hta")
    if not hta.exists():
        session.run("python", "-m", "venv", str(hta))
        session.run(str(hta / "bin" / "python"), "-m", "pip", "install", "--quiet", HTA, external=True)
    hta_python = ["--hta-python", str(hta / "bin" / "python")]
    session.run("python", "-m", "benchmarks.parsing.compare_hta", *hta_python, *session.posargs)


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Write the site from the results at hand."""
    _install(session, "--editable", ".[bench]")
    _publish(session)


def _install(session: nox.Session, *arguments: str) -> None:
    """Pip install within the constraints; quiet, but for a person watching it shows the downloads."""
    session.install(*arguments, "--constraint", str(CONSTRAINTS), silent=bool(os.environ.get("CI")))


def _publish(session: nox.Session) -> None:
    session.run("asv", "publish")
    session.log("Look at the site with: python -m http.server --bind 127.0.0.1 --directory html")
