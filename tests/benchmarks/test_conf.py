from pathlib import Path

import pytest
from asv import util
from asv.config import Config
from asv.environment import get_environment_class_by_name
from asv.plugin_manager import plugin_manager

ROOT = Path(__file__).parents[2]
READ_WITHOUT_DEFAULT = {"version", "build_cache_size", "bare_path"}


@pytest.fixture(scope="module")
def conf():
    return util.load_json(ROOT / "asv.conf.json", js_comments=True)


def test_every_key_is_one_that_asv_reads(conf):
    """Asv accepts any key in silence, so a typo would switch a setting off."""
    assert set(conf) <= set(vars(Config())) | READ_WITHOUT_DEFAULT


def test_plugins_load_and_bring_the_environment_type(conf, monkeypatch):
    monkeypatch.chdir(ROOT)
    for plugin in conf["plugins"]:
        assert plugin.startswith("."), "asv ignores a plugin of ours without the dot"
        plugin_manager.import_plugin(plugin)
    assert get_environment_class_by_name(conf["environment_type"]).tool_name == "borrowed"


def test_our_wheel_is_built_and_installed_without_dependencies(conf):
    for command in (*conf["build_command"], *conf["install_command"]):
        assert {"--no-deps", "--no-index"} <= set(command.split())
