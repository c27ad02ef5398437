"""A project of two commits, and the page of its results."""

import pytest
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.repo import get_repo

from benchmarks.meter.site.newest import newest_results
from benchmarks.paper_tables.content import tables_page
from tests.benchmarks.paper_tables.results import made_project


@pytest.fixture
def project(tmp_path):
    return made_project(tmp_path)


@pytest.fixture
def page(project, monkeypatch):
    """The page of the project's results, as `asv publish` would make it."""
    monkeypatch.chdir(project.path)

    def made():
        conf = Config.load("asv.conf.json")
        repo = get_repo(conf)
        revisions = repo.get_revisions(set(project.commits))
        return tables_page(newest_results(conf, repo, Benchmarks.load(conf), revisions))

    return made
