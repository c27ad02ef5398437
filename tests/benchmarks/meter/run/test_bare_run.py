"""Runs on a GPU box: without git, in place."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.benchmarks.meter.run.project import (
    CONFIGURATION,
    RunnerProject,
    values,
)


def test_bare_run_checks_the_gpu_before_it_measures(project, tmp_path):
    """`nvidia-smi` lists a GPU, torch computes on the CPU: told, and measured all the same."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\n")
    tool.chmod(0o755)
    bare = ["--bare", "--commit", project.git("rev-parse", "HEAD"), "--bench", "Alone"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("cuda = None\n")
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError\n")
    on_cpu = {"PATH": path, "CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": str(tmp_path)}
    first = project.run(*bare, **on_cpu)
    assert "device check FAILED: torch computes on the CPU" in first
    assert "1 of 1 cells are done" in first
    assert "device check" not in project.run(*bare, **on_cpu), "nothing is left to measure"


@pytest.mark.slow
def test_bare_run_without_git_merges_into_the_results(project):
    """The whole way of a GPU box: a copy without .git, measured in place, its results brought home."""
    box = RunnerProject(project.path.with_name("box"))
    (project.path / "lib").mkdir()
    shutil.move(project.path / "tiny.py", project.path / "lib")
    ignored = shutil.ignore_patterns(".git", ".asv")
    shutil.copytree(project.path, box.path, symlinks=True, ignore=ignored)
    (box.path / "asv.conf.json").write_text(json.dumps({**CONFIGURATION, "bare_path": ["lib"]}))
    (box.path / ".asv").mkdir()
    commit = project.git("rev-parse", "HEAD")
    box.run(
        "--bare", "--commit", commit, "--bench", "Grid|twice", code=2, PATH=str(Path(sys.executable).parent)
    )
    project.run("HEAD", "--bench", "Late")
    shutil.move(box.path / "results", project.path / "brought")
    project.run("--merge", "brought")
    (columns,) = project.stored().values()
    (measured,) = project.stored("brought").values()
    assert values(columns, "Late.track_gate") == [1, 1, 1]
    for name in ("cells.Grid.track_samples", "cells.time_twice"):
        assert json.dumps(columns[name]) == json.dumps(measured[name])
    project.calls()
    project.run("HEAD", "--bench", "Grid|Late|twice", code=2)
    assert not project.calls(), "what the box measured is not measured again"
    told = "".join(file.read_text() for file in project.path.glob("results/**/*") if file.is_file())
    assert str(project.path.parent) not in told
