"""The project that the runner is tried on."""

import json
import shutil

import pytest

from tests.benchmarks.meter.run.project import BUILD, CONFIGURATION, INSTALL, ROOT, SUITE, RunnerProject


@pytest.fixture
def project(tmp_path):
    if not shutil.which("git"):
        pytest.skip("asv needs git")
    project = RunnerProject(tmp_path / "project")
    (project.path / "benchmarks").mkdir(parents=True)
    (project.path / "benchmarks" / "__init__.py").touch()
    (project.path / "benchmarks" / "cells.py").write_text(SUITE)
    (project.path / "benchmarks" / "meter").symlink_to(ROOT / "benchmarks" / "meter")
    (project.path / "asv.conf.json").write_text(json.dumps(CONFIGURATION))
    (project.path / "build.py").write_text(f"import os, sys; sys.path.insert(0, os.getcwd())\n{BUILD}\n")
    (project.path / "install.py").write_text(f"{INSTALL}\n")
    (project.path / ".gitignore").write_text(".asv\nresults\nbenchmarks/meter\n__pycache__\n")
    (project.path / ".asv").mkdir()
    project.git("init", "--quiet")
    project.commit(1)
    project.commit(10)
    return project
