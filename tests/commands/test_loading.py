"""How the commands set torch up before they load anything."""

import subprocess
import sys

import pytest

SAY = """
import os, sys
from perfmamba.cli import app
verb = app[sys.argv[1]]
verb.default_command
print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""


def said(verb):
    done = subprocess.run([sys.executable, "-c", SAY, verb], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("verb", "policy"),
    [
        ("activity", "passive"),
        ("perplexity", "passive"),
        ("prune", "passive"),
        ("recall", "passive"),
        ("study", "passive"),
        ("profile", "None"),
    ],
)
def test_waiting_threads_sleep_where_nothing_is_measured(monkeypatch, verb, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert said(verb) == [policy, "False"]


def test_the_users_own_choice_stays(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert said("recall") == ["active", "False"]
