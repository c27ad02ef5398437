"""A project of two commits, and the page of its results."""

import pytest

from benchmarks.tables.content import tables_page
from tests.benchmarks.tables.results import made_project


@pytest.fixture
def project(tmp_path):
    return made_project(tmp_path)


@pytest.fixture
def page(project, monkeypatch):
    """The page of the project's results, as `asv publish` would make it."""
    monkeypatch.chdir(project.path)

    return lambda: tables_page(project.histories())
