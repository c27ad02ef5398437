"""What can be done with this checkout: `nox` checks it, `nox -s bench` measures it; `nox -l` lists all.

Each session installs what it needs, at the versions of constraints.txt, into its own environment with pip.
(uv is not used: it ignores the torch build that pip is told to find, and would download the CUDA build.)
"""

import argparse
import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nox
from nox.command import CommandFailed
from packaging.requirements import Requirement

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = Path("constraints.txt").resolve()
TORCH = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
EXTRAS = ("bench", "nvml")  # what the tests need besides the group `tests`
HTA = "HolisticTraceAnalysis==0.5.0"
KERNEL_TABLE = Path("runs", "kernel_table.json")


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint rules."""
    _install(session, "--group", "lint")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the packages and of what measures them, strict."""
    _install(session, "--editable", f".[{','.join(EXTRAS)}]", "--group", "types")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests; arguments after -- go to pytest: `nox -s tests -- -m "not slow"` for the fast ones."""
    _install(session, "--editable", f".[{','.join(EXTRAS)}]", "--group", "tests")
    _pytest(session)


@nox.session(default=False, reuse_venv=False)
def newest(session: nox.Session) -> None:
    """The fast tests with the newest release of every dependency that pyproject.toml allows.

    Only torch keeps its pinned version, because its other builds are gigabytes.
    """
    session.install("--upgrade", "--editable", f".[{','.join(EXTRAS)}]", "--group", "tests", TORCH)
    _pytest(session, "-m", "not slow")


@nox.session(default=False, reuse_venv=False)
def oldest(session: nox.Session) -> None:
    """The fast tests with the oldest release of every dependency that pyproject.toml allows.

    Only torch keeps its pinned version.
    """
    session.install("--editable", ".", *_oldest())
    _pytest(session, "-m", "not slow")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The documentation as a site in docs/_build; warnings and broken links between pages are errors."""
    _install(session, "--editable", ".", "--group", "docs")
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "--fresh-env", "docs", "docs/_build")


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
    """On main: measure HEAD, print Table 1, write the site. On a branch, or with --base: the same as `gate`.

    Arguments after -- go to the runner or to the comparison: `nox -s bench -- --bench Latency`.
    """
    if "--base" in session.posargs or not _on_main():
        gate(session)
        return
    _install(session, "--editable", ".[bench,nvml]")
    if session.run("git", "status", "--short", "perfmamba", "kernels", external=True, silent=True):
        session.warn("uncommitted changes to the packages are not measured: the commit HEAD is")
    session.run("python", "-m", "benchmarks.meter.run", "HEAD", *session.posargs)
    profile = ["mamba-130m", "mamba2-130m", "--layers", "2", "--seqlen", "64", "512", "--batch", "1"]
    # one thread: two wait for each other whenever other work takes a core from one of them
    session.run("perfmamba", "profile", *profile, "--threads", "1", "--out", "runs/bench", "--overwrite")
    session.run("perfmamba", "table", "1", "runs/bench")
    _publish(session)


@nox.session(default=False)
def gate(session: nox.Session) -> None:
    """Is HEAD slower or fatter than where its branch left main? Fails if a benchmark got worse.

    `nox -s gate -- --base REV` compares with another commit. Other arguments after -- go to the comparison.
    """
    _install(session, "--editable", ".[bench,nvml]")
    session.run("python", "-m", "benchmarks.meter.compare", *session.posargs)


@nox.session(default=False)
def bench_gpu(session: nox.Session) -> None:
    """On a GPU: the tests that need a device, the kernels side by side, then the paper's grid.

    GPU queues have time limits: `nox -s bench_gpu -- --time-limit 30` ends within 30 minutes, and the same
    command goes on with what is left. Other arguments after -- go to the runner of the grid.
    """
    parser = argparse.ArgumentParser(prog="nox -s bench_gpu --", allow_abbrev=False)
    parser.add_argument("--time-limit", type=float, default=float("inf"), metavar="MINUTES")
    options, for_the_runner = parser.parse_known_args(session.posargs)
    began = time.monotonic()

    def remaining() -> list[str]:
        minutes = max(1.0, options.time_limit - (time.monotonic() - began) / 60)
        return ["--time-limit", f"{minutes:.1f}"] if minutes < float("inf") else []

    _install(session, "--editable", ".[bench,nvml,triton]", "--group", "tests")
    failed = _fails(session, "pytest", "-m", "gpu", "-W", "default")
    if not KERNEL_TABLE.exists():
        table = ["python", "-m", "benchmarks.kernel_table", "--seconds", "0.5", *remaining()]
        # 2: a row says what failed; 3: the time was up
        session.run(*table, "--out", str(KERNEL_TABLE), success_codes=[0, 2, 3])
    grid = ["python", "-m", "benchmarks.meter.run", "HEAD", *remaining(), *for_the_runner]
    # 3: the time was up
    session.run(*grid, env={"PERFMAMBA_BENCH_PROFILE": "paper"}, success_codes=[0, 3])
    if failed:
        session.error("some tests that need a GPU failed: see above")


@nox.session(default=False)
def microbench(session: nox.Session) -> None:
    """Time the trace parser and the kernels one by one; compare with the run saved last.

    Arguments after -- go to pytest: `nox -s microbench -- -k parser`; to fail on what got slower than run 1,
    `nox -s microbench -- --benchmark-compare=0001 --benchmark-compare-fail=min:10%`.
    """
    _install(session, "--editable", ".[bench]", "pytest>=9")
    session.run("pytest", "benchmarks/micro", *session.posargs)


@nox.session(default=False)
def verdict(session: nox.Session) -> None:
    """How often the comparison is right, by experiment: equal commits and planted slow-downs; half an hour.

    Arguments after -- go to the experiment. It goes on where it was stopped.
    """
    _install(session, "--editable", ".[bench,nvml]")
    session.run("python", "-m", "benchmarks.experiments.verdict", *session.posargs)


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
    session.run("python", "-m", "benchmarks.experiments.compare_hta", *hta_python, *session.posargs)


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Write the site from the results at hand, and serve it to this machine until Ctrl-C."""
    _install(session, "--editable", ".[bench]")
    _publish(session)
    session.run("python", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "html", *session.posargs)


def _install(session: nox.Session, *arguments: str) -> None:
    """Pip install within the constraints; quiet in CI, while a person sees the progress of downloads."""
    session.install(*arguments, "--constraint", str(CONSTRAINTS), silent=bool(os.environ.get("CI")))


def _pytest(session: nox.Session, *arguments: str) -> None:
    """Run the tests in two processes, each on one thread; tests/conftest.py says which share a process."""
    # pytest-benchmark times nothing in several processes, and its older releases warn of that, an error here
    together = ["--numprocesses", "2", "--dist", "loadgroup", "--benchmark-disable"]
    session.run("pytest", *together, *arguments, *session.posargs, env={"OMP_NUM_THREADS": "1"})


def _oldest() -> list[str]:
    """Each requirement of the tests at its lower bound in pyproject.toml, and torch at its pinned version."""
    pyproject = nox.project.load_toml("pyproject.toml")
    extras = pyproject["project"]["optional-dependencies"]
    wanted = [*pyproject["project"]["dependencies"], *nox.project.dependency_groups(pyproject, "tests")]
    wanted += [requirement for extra in EXTRAS for requirement in extras[extra]]
    bounds = {Requirement(line).name: Requirement(line).specifier for line in wanted}
    oldest = {
        name: bound.version for name, bounds in bounds.items() for bound in bounds if ">=" in bound.operator
    }
    return [TORCH, *(f"{name}=={version}" for name, version in oldest.items() if name != "torch")]


def _fails(session: nox.Session, *command: str) -> bool:
    """Whether a command ends with an error; the session goes on."""
    try:
        session.run(*command)
    except CommandFailed:
        return True
    return False


def _on_main() -> bool:
    """Whether HEAD is a commit of main. False where no main is known, as in a shallow clone of a branch."""
    reached = [["git", "merge-base", "--is-ancestor", "HEAD", main] for main in ("main", "origin/main")]
    return any(subprocess.run(ask, capture_output=True, check=False).returncode == 0 for ask in reached)


def _publish(session: nox.Session) -> None:
    session.run("asv", "publish")
    session.log("Look at the site with: python -m http.server --bind 127.0.0.1 --directory html")
