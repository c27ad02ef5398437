"""The asv environment, first alone and then in real runs of asv on a clone of this repository."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asv.config import Config
from asv.environment import EnvironmentUnavailable
from asv.plugins.virtualenv import Virtualenv

from benchmarks.meter.asv_plugins import environment
from benchmarks.meter.asv_plugins.environment import BorrowingEnvironment
from benchmarks.meter.measure.variants import STORE_VARIABLE, Outcome, Store
from tests.benchmarks.meter.repository import Repository

ROOT = Path(__file__).parents[4]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BENCHMARK = "imports.ImportTime.timeraw_import"
SLOWER_BY_S = 2.0
"""Of the second commit's import; an import alone takes a fraction of it, also on a busy machine."""
WHAT_RUNS = "import perfmamba, sys, torch; print(perfmamba.__file__, torch.__file__, sys.prefix, sep='\\n')"


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    return Config.from_json({"repo": ".", "env_dir": str(tmp_path)})


def test_another_python_version_is_refused(conf):
    with pytest.raises(EnvironmentUnavailable, match=r"cannot borrow packages for Python 2\.7"):
        BorrowingEnvironment(conf, "2.7", {}, {})


def test_packages_of_the_matrix_are_refused(conf):
    with pytest.raises(EnvironmentUnavailable, match=r"matrix\.req asks for transformers"):
        BorrowingEnvironment(conf, PYTHON, {"transformers": "5.17"}, {})


def test_name_says_the_python_version_and_no_path(conf):
    assert BorrowingEnvironment(conf, PYTHON, {}, {}).name == f"borrowed-py{PYTHON}"


def test_environment_is_made_again_when_another_python_lends(conf, tmp_path):
    BorrowingEnvironment(conf, PYTHON, {}, {}).create()
    assert BorrowingEnvironment(conf, PYTHON, {}, {}).check_presence()
    (borrowed,) = tmp_path.rglob("borrowed.pth")
    borrowed.write_text("/another/python/site-packages\n")
    assert not BorrowingEnvironment(conf, PYTHON, {}, {}).check_presence()


def test_outcomes_last_until_a_commit_is_installed_and_the_folder_until_asv_ends(conf, monkeypatch):
    at_exit = []
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    monkeypatch.setattr(
        environment.atexit, "register", lambda *call, **options: at_exit.append((call, options))
    )
    environment.setup()
    environment.setup()
    monkeypatch.setenv(STORE_VARIABLE, os.environ[STORE_VARIABLE])  # has pytest undo what setup did
    Store.of_this_process().put(["variant"], Outcome([1.0]))
    monkeypatch.setattr(Virtualenv, "install_project", lambda *_: None)
    BorrowingEnvironment(conf, PYTHON, {}, {}).install_project(conf, None, "0" * 40)
    assert Store.of_this_process().pop(["variant"]) is None
    ((function, folder), options), *more = at_exit
    assert Path(folder).is_dir()
    function(folder, **options)
    assert (Path(folder).exists(), more) == (False, [])


def test_a_store_that_a_runner_set_is_left_to_it(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path))
    environment.setup()
    assert os.environ[STORE_VARIABLE] == str(tmp_path)


class Clone(Repository):
    """A clone with two commits: HEAD of the checkout, and a second that makes the import slow."""

    def results(self):
        """The result files: of one machine, by the commits' order in the history."""
        files = self.path.glob("results/asv/*/*-borrowed-*.json")
        loaded = [json.loads(file.read_text()) for file in files]
        commits = self.git("rev-list", "--reverse", "HEAD").split()
        return sorted(loaded, key=lambda result: commits.index(result["commit_hash"]))


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("asv needs a git checkout")
    folder = tmp_path_factory.mktemp("clone")
    clone = Clone(folder / "perfmamba", folder / "home")
    clone.home.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, clone.path], check=True)
    shutil.rmtree(clone.path / "benchmarks")
    shutil.copytree(ROOT / "benchmarks", clone.path / "benchmarks")
    shutil.copy(ROOT / "asv.conf.json", clone.path)
    module = clone.path / "perfmamba" / "__init__.py"
    module.write_text(f"{module.read_text()}\nimport time\n\ntime.sleep({SLOWER_BY_S})\n")
    clone.git("commit", "--quiet", "--message", "Import slowly", "--", str(module))
    return clone


@pytest.fixture(scope="module")
def continuous(clone):
    """What `asv continuous` over both commits prints; it fails for the slow one."""
    compared = ["HEAD~1", "HEAD", "--quick", "--show-stderr", "--bench", BENCHMARK]
    return clone.asv("continuous", *compared, code=1)


@pytest.mark.slow
def test_continuous_measures_each_commit_and_fails_on_the_slow_one(clone, continuous):
    assert "PERFORMANCE DECREASED" in continuous
    fast, slow = clone.results()
    assert [result["env_name"] for result in (fast, slow)] == [f"borrowed-py{PYTHON}"] * 2
    (fast_import, *_), (slow_import, *_) = fast["results"][BENCHMARK][0], slow["results"][BENCHMARK][0]
    assert fast_import < SLOWER_BY_S <= slow_import


@pytest.mark.slow
@pytest.mark.usefixtures("continuous")
def test_environment_holds_our_wheel_alone_and_borrows_torch(clone):
    import torch

    (python,) = clone.path.glob(".asv/env/*/bin/python")
    site = next(python.parents[1].glob("lib/python*/site-packages"))
    installed = {folder.name.split("-")[0] for folder in site.glob("*.dist-info")}
    assert installed - {"pip", "setuptools"} == {"perfmamba"}
    package, borrowed, prefix = clone.run(
        str(python), "-P", "-c", WHAT_RUNS, PYTHONPATH=""
    ).stdout.splitlines()
    assert Path(package).is_relative_to(site)
    assert Path(prefix) == python.parents[1]
    assert borrowed == torch.__file__


@pytest.mark.slow
@pytest.mark.usefixtures("continuous")
def test_results_tell_nothing_about_who_ran_them_and_where(clone):
    secrets = [clone.path.parent, ROOT, sys.prefix, Path.home(), f'"{platform.node()}']
    stored = "".join(file.read_text() for file in clone.path.glob("results/asv/**/*.json"))
    assert BENCHMARK in stored
    assert not [secret for secret in secrets if str(secret) in stored]
    assert not (clone.home / ".asv-machine.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("continuous")
def test_site_is_written_and_names_the_benchmark_and_the_gpu(clone):
    clone.asv("publish")
    assert (clone.path / "html" / "index.html").is_file()
    index = json.loads((clone.path / "html" / "index.json").read_text())
    assert BENCHMARK in index["benchmarks"]
    assert len(index["params"]["gpu"]) == 1
    assert len(index["revision_to_hash"]) == 2
