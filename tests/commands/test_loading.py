"""What the verbs tell OpenMP before they import torch."""

import subprocess
import sys

import pytest

SAY = """
import os, sys

class StopAtTorch:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, StopAtTorch())
from perfmamba.cli import main
main(sys.argv[1:])
"""


def policy_of(*arguments):
    """What torch sees when a command imports it."""
    done = subprocess.run([sys.executable, "-c", SAY, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "policy"),
    [
        (("activity", "m", "--calibration", "random", "--out", "a.safetensors"), "passive"),
        (("perplexity", "m", "--text", "t"), "passive"),
        (("prune", "m", "--ratio", "0.5", "--out", "o"), "passive"),
        (("recall", "m"), "passive"),
        (("study", "m", "--out", "o"), "passive"),
        (("profile", "m", "--out", "o"), "None"),
    ],
)
def test_waiting_threads_sleep_where_nothing_is_measured(monkeypatch, arguments, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert policy_of(*arguments) == policy


def test_the_users_own_choice_stays(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert policy_of("recall", "m") == "active"
