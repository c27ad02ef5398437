"""What can be done with this checkout: `nox` checks it, `nox -s bench` measures it; `nox -l` lists all.

Each session installs what it needs, at the versions of constraints.txt, into its own environment with pip.
(uv is not used: it passes over the torch that pip is told to find, and would fetch the CUDA build.)
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = Path("constraints.txt").resolve()
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
    """On a branch: is HEAD slower than where it left main? On main: measure HEAD, print Table 1.

    On main it also writes the site. `nox -s bench -- --base REV` compares with REV, wherever HEAD is. Other
    arguments after -- go to the comparison or to the runner: `nox -s bench -- --bench Latency`.
    """
    _install(session, "--editable", ".[bench,nvml]")
    base = _base(session)
    if base:
        session.run("python", "-m", "benchmarks.meter.compare", "--base", base, *session.posargs)
        return
    if session.run("git", "status", "--short", "perfmamba", "kernels", external=True, silent=True):
        session.warn("the commit HEAD is measured: without the uncommitted changes to the packages")
    session.run("python", "-m", "benchmarks.meter.run", "HEAD", *session.posargs)
    profile = ["mamba-130m", "mamba2-130m", "--layers", "2", "--seqlen", "64", "512", "--batch", "1"]
    # one thread: two wait for each other whenever other work takes a core from one of them
    session.run("perfmamba", "profile", *profile, "--threads", "1", "--out", "runs/bench", "--overwrite")
    session.run("perfmamba", "table", "1", "runs/bench")
    _publish(session)


@nox.session(default=False)
def bench_gpu(session: nox.Session) -> None:
    """On a GPU: the tests that need a device, the kernels side by side, the paper's grid in slices.

    Each call ends within nine minutes. Run it again until it says that nothing is left: the first one spends
    its time on the tests and the kernels. Arguments after -- go to the runner of the grid.
    """
    _install(session, "--editable", ".[bench,nvml,triton]", "--group", "tests")
    began = time.monotonic()
    failed = _fails(session, "pytest", "-m", "gpu", "-W", "default")
    if not KERNEL_TABLE.exists():
        table = ["python", "-m", "benchmarks.kernel_table", "--seconds", "0.5", "--time-limit", "4"]
        # 2: a row says what failed; 3: the time was up
        session.run(*table, "--out", str(KERNEL_TABLE), success_codes=[0, 2, 3])
    minutes_left = max(1.0, 8 - (time.monotonic() - began) / 60)
    grid = {"PERFMAMBA_BENCH_PROFILE": "paper"}
    # 3: the time was up; the same command goes on with what is left
    command = ["python", "-m", "benchmarks.meter.run", "HEAD", "--time-limit", f"{minutes_left:.1f}"]
    session.run(*command, *session.posargs, env=grid, success_codes=[0, 3])
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
    """Pip install within the constraints; quiet, but for a person watching it shows the downloads."""
    session.install(*arguments, "--constraint", str(CONSTRAINTS), silent=bool(os.environ.get("CI")))


def _fails(session: nox.Session, *command: str) -> bool:
    """Whether a command ends with an error; the session goes on."""
    try:
        session.run(*command)
    except CommandFailed:
        return True
    return False


def _base(session: nox.Session) -> str:
    """What to compare HEAD with: what `--base` says, else where the branch left main; "" on main."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--base")
    named, session.posargs[:] = parser.parse_known_args(session.posargs)
    left_main = "from benchmarks.meter.compare.builds import left_main; print(left_main() or '')"
    return named.base or str(session.run("python", "-c", left_main, silent=True)).strip()


def _publish(session: nox.Session) -> None:
    session.run("asv", "publish")
    session.log("Look at the site with: python -m http.server --bind 127.0.0.1 --directory html")
