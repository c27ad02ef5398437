"""asv's environment and repository where there is neither."""

import os
import sys
from datetime import UTC, datetime

import pytest
from asv import util
from asv.config import Config
from asv.environment import EnvironmentUnavailable
from asv.repo import NoSuchNameError

from benchmarks.meter.run.bare import BareEnvironment, GivenCommit

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    return Config.from_json({"repo": ".", "environment_type": "borrowed", "bare_path": [".", "lib"]})


def test_name_is_that_of_the_environment_it_stands_in_for(conf):
    assert BareEnvironment(conf, PYTHON, {}, {}).name == f"borrowed-py{PYTHON}"
    assert BareEnvironment(conf, PYTHON, {}, {("nobuild", "MODE"): "x"}).name == f"borrowed-py{PYTHON}-MODEx"


def test_imports_come_from_the_checkout_then_from_the_path_of_this_process(conf, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = BareEnvironment(conf, PYTHON, {}, {})
    environment.install_project(conf, GivenCommit(COMMIT), COMMIT)
    asks = "import os, sys; print(sys.executable, os.environ['ASV_COMMIT'], os.environ['ASV_PYTHONPATH'])"
    path = os.pathsep.join([str(tmp_path), str(tmp_path / "lib"), "/elsewhere"])
    assert environment.run(["-c", asks]).split() == [sys.executable, COMMIT, path]


def test_folder_that_is_not_there_and_another_python_are_refused(conf):
    with pytest.raises(EnvironmentUnavailable, match=rf"runs on Python {PYTHON}, not 2\.7"):
        BareEnvironment(conf, "2.7", {}, {})
    conf.bare_path = ["nowhere"]
    with pytest.raises(util.UserError, match=r"bare_path in .* there is no folder .*nowhere"):
        BareEnvironment(conf, PYTHON, {}, {})


def test_commit_has_its_date_in_milliseconds_and_no_name():
    repo = GivenCommit(COMMIT, datetime(2026, 1, 2, tzinfo=UTC))
    assert repo.get_date(COMMIT) == 1767312000_000
    for unknown in (repo.get_hash_from_name, repo.get_date):
        with pytest.raises(NoSuchNameError):
            unknown("main")


def test_date_needs_a_time_zone_and_a_commit_all_its_digits():
    with pytest.raises(util.UserError, match="give the time zone"):
        GivenCommit(COMMIT, datetime.fromisoformat("2026-01-02"))
    with pytest.raises(util.UserError, match="give all 40 digits"):
        GivenCommit(COMMIT[:8])
