"""What the meter replaces in asv: as listed, as explained, and only in the asv that it was written for."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from asv import util

from benchmarks.meter.asv_plugins import patches
from benchmarks.meter.asv_plugins.patches import CHECKED, PATCHES, Patch

ROOT = Path(__file__).parents[4]
EXPLAINED = (ROOT / "benchmarks" / "meter" / "asv_plugins" / "PATCHES.md").read_text()

# Compares every attribute of asv's modules and classes before and after the plugins are loaded.
REPLACED = """
import inspect, json, pkgutil, importlib, sys
import asv
from asv.config import Config
from asv.plugin_manager import plugin_manager

for module in pkgutil.walk_packages(asv.__path__, "asv."):
    if module.name not in ("asv.__main__",) and not module.name.startswith("asv.plugins."):
        importlib.import_module(module.name)

def attributes():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("asv"):
            for key, value in vars(module).items():
                found[name, key] = id(value)
                if inspect.isclass(value) and value.__module__.startswith("asv"):
                    owner = f"{value.__module__}.{value.__qualname__}"
                    found |= {(owner, own): id(it) for own, it in vars(value).items()}
    return found

before = attributes()
kept = [vars(module).copy() for module in list(sys.modules.values())]  # so that no id is used again
for plugin in Config.load("asv.conf.json").plugins:
    plugin_manager.import_plugin(plugin)
after = attributes()
print(json.dumps([key for key in before if after.get(key) != before[key] and not key[1].startswith("__")]))
"""


@pytest.fixture
def owner():
    class Owner:
        def load(self, path):
            return path

    return Owner


def test_asv_is_the_one_that_was_checked():
    for patch in PATCHES:
        patch.check()


def test_the_plugins_replace_what_is_listed_and_nothing_else():
    done = subprocess.run(
        [sys.executable, "-c", REPLACED], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    )
    replaced = {tuple(key) for key in json.loads(done.stdout.splitlines()[-1])}
    listed = {(_full_name(patch), patch.name) for patch in PATCHES}
    assert replaced == listed


def _full_name(patch):
    owner = patch.owner
    return f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.__name__


def test_a_stand_in_takes_the_place_and_reaches_what_was_there(owner):
    patch = Patch(owner, "load", "path", "a test")
    for _ in range(2):
        patches.apply({patch: lambda self, path: f"stand-in for {patch.stock(self, path)}"})
    assert owner().load("file") == "stand-in for file"


@pytest.mark.parametrize(
    ("name", "parameters", "has"),
    [("load", "path mode", r"Owner\.load\(path\)"), ("read", "path", r"no Owner\.read")],
)
def test_another_asv_is_refused_and_nothing_is_replaced(owner, name, parameters, has):
    good, drifted = Patch(owner, "load", "path", "a test"), Patch(owner, name, parameters, "a test")
    with pytest.raises(util.UserError, match=rf"has {has}; .* Install asv {re.escape(CHECKED)}"):
        patches.apply({good: None, drifted: None})
    assert owner().load("file") == "file"


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_each_is_explained(patch):
    assert f"`{patch}`" in EXPLAINED
    assert f"asv {CHECKED}" in EXPLAINED
