"""The conditions, asked of a process that runs under them."""

import os
import platform
import subprocess
import sys

import pytest

from benchmarks.meter.asv_plugins import environment
from benchmarks.meter.measure.conditions import CONDITIONS, STEADY_HEAP
from benchmarks.meter.measure.variants import STORE_VARIABLE

MEGABYTES_AFTER_FREEING_100 = """
block = bytearray(100 * 2**20)
del block
print(int(open("/proc/self/status").read().partition("VmRSS:")[2].split()[0]) // 1024)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's heap alone is tuned")
def test_a_steady_heap_keeps_what_is_freed():
    def resident(**variables):
        command = [sys.executable, "-c", MEGABYTES_AFTER_FREEING_100]
        environment = {**os.environ, **dict.fromkeys(STEADY_HEAP, ""), **variables}
        return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

    assert resident() < 50
    assert resident(**STEADY_HEAP) > 100


def test_asv_gets_the_conditions_but_for_what_the_user_has_set(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path))
    for name in CONDITIONS:
        monkeypatch.setenv(name, "")  # so that pytest takes back what setup does
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRITON_CACHE_AUTOTUNING", "0")
    environment.setup()
    assert {name: os.environ[name] for name in CONDITIONS} == {**CONDITIONS, "TRITON_CACHE_AUTOTUNING": "0"}
