"""Suites to measure, and cells of them as asv_runner makes and runs them."""

import math
import types

import torch
from asv_runner.benchmarks.mark import SkipNotImplemented

MIB = 2**20
QUICK = {"repeat": 1, "number": 1, "warmup_time": 0.0, "rounds": 1}
"""What `asv run --quick` overrides."""


def made(kind, suite, method, index=0, **overrides):
    """A benchmark as asv_runner's discovery makes it, for one cell, with the command line's overrides."""
    instance = suite()
    function = getattr(instance, method)
    benchmark = kind(f"suite.{suite.__name__}.{method}", function, [function, instance])
    benchmark._attr_sources.insert(0, types.SimpleNamespace(**overrides))
    benchmark.set_param_idx(index)
    benchmark.set_cache(None)
    return benchmark


def run(benchmark):
    """What asv_runner's run of one cell gives to asv."""
    if benchmark.do_setup():
        return math.nan
    try:
        return benchmark.do_run()
    except SkipNotImplemented:
        return math.nan
    finally:
        benchmark.do_teardown()


class TimedSuite:
    params = ([1, 3], ["a", "b"])
    param_names = ("calls", "letter")
    repeat = (6, 30, 1.0)
    paper = "table1"

    def setup(self, calls, letter):
        self.made = getattr(self, "made", [])
        self.made.append(f"setup {calls} {letter}")

    def teardown(self, *_cell):
        self.made.append("teardown")

    def cudatime_x(self, calls, letter):
        self.made.append(f"call {calls} {letter}")

    def devicemem_x(self, calls, _letter):
        torch.ones(calls * 8 * MIB, dtype=torch.int8)


class SumVariants:
    params = ([10, 20], [0, 0.5, 0.9])
    param_names = ("size", "ratio")
    variant = "ratio"
    baseline = 0
    repeat = (6, 40, 0.2)
    groups = ()

    def setup(self, size):
        self.size = size

    def paired_x(self, size):
        type(self).groups += (size,)
        assert self.size == size
        return {0: lambda: sum(range(size * 200)), 0.5: lambda: sum(range(size * 50)), 0.9: self.no_room}

    def no_room(self):
        raise torch.OutOfMemoryError("CUDA out of memory.")
