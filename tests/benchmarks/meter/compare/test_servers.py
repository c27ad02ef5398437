"""Workers for real, of suites that end processes: what a comparison makes of it."""

import contextlib
import json
import os
import random
import signal
from pathlib import Path

import pytest

from benchmarks.meter.compare import servers
from benchmarks.meter.compare.builds import Build
from benchmarks.meter.compare.duel import ComparedCell, Comparison
from benchmarks.meter.compare.errors import CellError
from benchmarks.meter.compare.servers import CommitWorkers

ROOT = Path(__file__).parents[4]
SUITE = """
import os
import signal

import side

class First:
    version = "1"

    def track_child_dies(self):
        if side.NAME == "head":
            os._exit(3)
        return 5.0

    def track_child_and_worker_die(self):
        if side.NAME == "head":
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(3)
        return 5.0

    def track_worker_dies(self):
        if side.NAME == "head":
            os.kill(os.getppid(), signal.SIGKILL)
        return 5.0

    timeout = 30

class Last:
    version = "1"

    def track_fine(self):
        return 5.0

    def track_nothing(self):
        return 0.0
"""


@pytest.fixture
def planted(tmp_path):
    """A function of the suite's text: two builds, `base` and `head`, and the suite's folder."""

    def plant(suite=SUITE):
        suites = tmp_path / "suites"
        suites.mkdir()
        (suites / "__init__.py").touch()
        (suites / "suite.py").write_text(suite)
        builds = []
        for side in ("base", "head"):
            folder = tmp_path / side
            (folder / "side").mkdir(parents=True)
            (folder / "side" / "__init__.py").write_text(f"NAME = {side!r}")
            builds.append(Build(side, side * 10, folder))
        return builds, suites

    return plant


@pytest.fixture
def started(planted):
    """A function of the suite's text: the running workers, base first."""
    with contextlib.ExitStack() as stack:

        def start(suite=SUITE):
            return stack.enter_context(CommitWorkers(*planted(suite), random.Random(0))).running()

        yield start


class Silent:
    def expect(self, count):
        pass

    def start(self, name):
        pass

    def finish(self):
        pass


def compared(planted):
    builds, suites = planted()
    comparison = Comparison(*builds, suites, min_effect=0.02, budget_s=0.01)
    comparison.run(
        lambda found: [cell for benchmark in found for cell in ComparedCell.of(benchmark)], Silent()
    )
    return {cell.benchmark.removeprefix("suite."): result for cell, result in comparison.results.items()}


def test_a_process_that_ends_costs_its_own_cell_only(planted):
    found = compared(planted)
    for name in ("First.track_child_dies", "First.track_child_and_worker_die"):
        assert found[name].outcome == "lost", name
        assert "out of memory?" in found[name].reason
    # the worker was not needed any more
    assert found["First.track_worker_dies"].outcome == "measured"
    assert found["Last.track_fine"].outcome == "measured"
    assert found["Last.track_fine"].base == found["Last.track_fine"].head
    # what no ratio can be made of, on either side
    assert found["Last.track_nothing"].outcome == "skipped"
    assert "no positive number" in found["Last.track_nothing"].reason


def test_a_worker_that_is_gone_takes_no_orders(started):
    worker, _ = started()
    assert worker.usable
    assert "suite.Last.track_fine" in worker.benchmarks
    os.kill(worker.process.pid, signal.SIGKILL)
    assert worker.process.exit_code(60) == -signal.SIGKILL
    assert not worker.usable
    with pytest.raises(CellError, match="ended"):
        worker.open("suite.Last.track_fine", None)


def test_workers_are_started_anew_when_one_is_gone(planted):
    with CommitWorkers(*planted(), random.Random(0)) as workers:
        before = workers.running()
        assert workers.running() is before
        os.kill(before[1].process.pid, signal.SIGKILL)
        before[1].process.exit_code(60)
        after = workers.running()
        assert [worker.build.label for worker in after] == ["base", "head"]
        assert not {worker.process.pid for worker in after} & {worker.process.pid for worker in before}
        assert before[0].process.exit_code(0) is not None


def test_a_child_that_is_gone_gives_no_samples(started):
    sampler = started()[0].open("suite.Last.track_fine", None)
    assert sampler.sample(2) == [5.0, 5.0]
    os.kill(sampler._child.pid, signal.SIGKILL)
    with pytest.raises(CellError) as raised:
        [sampler.sample(1) for _ in range(1000)]
    assert raised.value.sampler is sampler
    sampler.close()


def test_a_worker_that_hangs_does_not_block(started):
    worker, _ = started(SUITE.replace("timeout = 30", "timeout = 0.3"))
    assert worker.benchmarks
    os.kill(worker.process.pid, signal.SIGSTOP)
    with pytest.raises(CellError, match=r"no process that answers within 0\.3 s"):
        worker.open("suite.First.track_child_dies", None)
    assert not worker.usable


def test_a_cell_is_over_when_its_process_is_gone(started):
    worker, _ = started()
    one, other = (worker.open("suite.Last.track_fine", None) for _ in range(2))
    pid = one._child.pid
    assert Path("/proc", str(pid)).exists()
    one.close()
    assert not Path("/proc", str(pid)).exists()
    assert other.sample(1) == [5.0]
    other.close()
    assert worker.usable


def test_a_cache_that_cannot_be_set_up_fails_its_cells(started):
    worker, _ = started("""
class Cached:
    def setup_cache(self):
        raise RuntimeError("no cache")

    def track_one(self, cache):
        return 1

    def track_two(self, cache):
        return 2
""")
    for name in ("one", "two"):
        with pytest.raises(CellError, match="no cache"):
            worker.open(f"suite.Cached.track_{name}", None)
    assert worker.usable


def test_the_user_sets_a_condition_otherwise(started, monkeypatch):
    name, other = list(servers.CONDITIONS)[-2:]
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(other, raising=False)
    suite = f"""
import os

def track_conditions():
    as_meant = os.environ[{name!r}] == "" and os.environ[{other!r}] == {servers.CONDITIONS[other]!r}
    return 1.0 if as_meant else 2.0
"""
    assert started(suite)[0].open("suite.track_conditions", None).sample(1) == [1.0]


def test_a_worker_knows_where_torch_computes(started):
    worker, _ = started("""
import sys
import types

sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: True))

def track_one():
    return 1
""")
    assert worker.on_gpu
    assert worker.open("suite.track_one", None).sample(1) == [1.0]


def test_the_meters_types_take_a_block_at_one_go(started):
    worker, _ = started("""
import re

from asv_runner import benchmarks
from asv_runner.benchmarks.track import TrackBenchmark
from asv_runner.benchmarks._base import _get_first_attr

class Counting(TrackBenchmark):
    name_regex = re.compile("^counted_.+$")
    taken = 0

    def take(self):
        self.taken += 1
        return [float(self.taken)] * _get_first_attr(self._attr_sources, "repeat", 7)

    def run(self):
        return {"samples": self.take(), "number": 1}

benchmarks.benchmark_types[:0] = [Counting]

def counted_take():
    pass

class Stock:
    made = 0

    def track_calls(self):
        Stock.made += 1
        return Stock.made
""")
    sampler = worker.open("suite.counted_take", None)
    assert sampler.sample(3) == [2.0, 2.0, 2.0]
    assert sampler.sample(2) == [3.0, 3.0]
    stock = worker.open("suite.Stock.track_calls", None)
    assert stock.sample(3) == [2.0, 3.0, 4.0]


def test_a_block_of_device_times_is_one_measurement(started, monkeypatch, tmp_path):
    monkeypatch.setenv("METER_NOTES", str(tmp_path / "notes"))
    worker, _ = started(f"""
import sys

sys.path.append({str(ROOT)!r})
from benchmarks.meter.types.register import register

register()

def cudatime_sum():
    sum(range(100))
""")
    sampler = worker.open("suite.cudatime_sum", None)
    assert [len(sampler.sample(count)) for count in (5, 20)] == [5, 20]
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    assert [note["iterations"] for note in notes] == [1, 5, 20]


def test_workers_start_in_an_order_that_is_drawn(monkeypatch, tmp_path):
    order = []

    def process(build, _suites, _folder):
        order.append(build)
        return contextlib.nullcontext()

    monkeypatch.setattr(servers, "_process", process)
    monkeypatch.setattr(servers, "_greet", lambda _: None)
    seen = set()
    draw = random.Random(0)
    for _ in range(20):
        order.clear()
        with servers._started(["base", "head"], tmp_path, draw) as workers:
            assert [worker.build for worker in workers] == ["base", "head"]
        seen.add(tuple(order))
    assert seen == {("base", "head"), ("head", "base")}
