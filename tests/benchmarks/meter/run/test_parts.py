"""The parts of the runner that need no processes."""

import signal
from collections import Counter

import pytest
from asv import util
from asv.runner import BenchmarkResult

from benchmarks.meter.run.estimate import Estimate
from benchmarks.meter.run.plan import Cell, CellRecord, Step, plan
from benchmarks.meter.run.progress import Bar, Lines, State, duration
from benchmarks.meter.run.session import error_line
from benchmarks.meter.run.signals import Interruptions


class StandInBenchmarks(dict):
    """Stands in for asv's `Benchmarks`."""

    def __init__(self, *benchmarks, selection=()):
        super().__init__({benchmark["name"]: benchmark for benchmark in benchmarks})
        self.benchmark_selection = dict(selection)


def benchmark(name, *, params=(), rounds=1, cache=None):
    described = {"name": name, "params": [list(axis) for axis in params], "rounds": rounds, "timeout": 600}
    return described | ({"setup_cache_key": cache} if cache else {})


def step(name, *params, rounds=1):
    return Step(benchmark(name), 0, Cell(name, params), 1, rounds)


def order(steps):
    return [(str(step.cell), step.round) for step in steps]


def test_rounds_are_interleaved_and_users_of_a_cache_stay_together():
    suite = StandInBenchmarks(
        benchmark("a", rounds=2), benchmark("b", cache="x"), benchmark("c"), benchmark("d", cache="x")
    )
    assert order(plan(suite, {}, ())) == [("a", 1), ("c", 1), ("b", 1), ("d", 1), ("a", 2)]


def test_only_selected_cells_are_planned():
    suite = StandInBenchmarks(benchmark("a", params=["12", "xy"]), selection={"a": [0, 3]})
    assert [(s.index, str(s.cell)) for s in plan(suite, {}, ())] == [(0, "a(1, x)"), (3, "a(2, y)")]


@pytest.mark.parametrize(
    ("record", "left"),
    [
        (CellRecord("measured", 1, 1.0), [("a", 2), ("a", 3)]),
        (CellRecord("measured", 3, 1.0), []),
        (CellRecord("n/a", 1, 1.0), []),
        (CellRecord("failed", 1, 1.0), [("a", 1), ("a", 2), ("a", 3)]),
    ],
)
def test_what_is_left_of_a_cell_of_three_rounds(record, left):
    assert order(plan(StandInBenchmarks(benchmark("a", rounds=3)), {Cell("a"): record}, {"n/a"})) == left


def test_estimate_takes_the_cell_then_its_benchmark_then_all():
    estimate = Estimate({Cell("a", ("1",)): 6.0})
    assert estimate.seconds(step("a", "1")) == 6.0
    assert estimate.seconds(step("a", "2")) is None
    assert estimate.total([step("a", "1"), step("a", "2")]) == (None, True)
    estimate.learn(step("b", "1"), 1.0)
    estimate.learn(step("b", "2"), 3.0)
    assert estimate.seconds(step("a", "2")) == 2.0
    assert estimate.total([step("a", "2"), step("b", "3")]) == (4.0, True)
    estimate.learn(step("a", "3"), 5.0)
    assert estimate.seconds(step("a", "2")) == 5.0
    assert estimate.total([step("a", "1"), step("a", "2"), step("b", "4")]) == (6.0 + 5.0 + 2.0, False)


def test_careful_estimate_reckons_with_larger_cells_than_those_seen():
    estimate = Estimate({Cell("a", ("1",)): 6.0})
    assert estimate.careful(step("a", "1")) == 6.0
    assert estimate.careful(step("b", "1")) == 60.0
    estimate.learn(step("b", "1"), 20.0)
    estimate.learn(step("b", "2"), 30.0)
    assert estimate.careful(step("b", "1")) == 20.0, "as in this run"
    assert estimate.careful(step("b", "3")) == estimate.careful(step("c", "1")) == 4 * 30.0
    estimate.learn(step("b", "3"), 300.0)
    assert estimate.careful(step("b", "4")) == 600.0, "its timeout"


def test_cells_measured_together_take_as_long_as_the_one_that_measured_them():
    grid = benchmark("a", params=["12", "xyz", "34"])
    paired = grid | {"param_names": ["n", "kind", "m"], "variant": "kind"}
    steps = plan(StandInBenchmarks(paired), {}, ())
    assert [str(cell) for cell in steps[3].together] == ["a(1, x, 4)", "a(1, y, 4)", "a(1, z, 4)"]
    assert len({step.together for step in steps}) == 4
    assert step("a", "1").together == (Cell("a", ("1",)),)
    estimate = Estimate({Cell("a", ("1", "x", "4")): 90.0, Cell("a", ("1", "y", "4")): 0.1})
    estimates = [(str(step.cell), estimate.careful(step)) for step in steps if step.cell.params[2] == "4"]
    assert estimates[:3] == [("a(1, x, 4)", 90.0), ("a(1, y, 4)", 90.0), ("a(1, z, 4)", 90.0)]
    assert estimates[3:] == [("a(2, x, 4)", 60.0), ("a(2, y, 4)", 60.0), ("a(2, z, 4)", 60.0)]


TRACEBACK = """For parameters: 1
printed
Traceback (most recent call last):
  File "x.py", line 1, in <module>
KeyError: 1

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "x.py", line 2, in <module>
ValueError: first line
second line"""


@pytest.mark.parametrize(
    ("stderr", "status", "line"),
    [
        (TRACEBACK, 1, "ValueError: first line"),
        (
            f"{TRACEBACK}\n\nasv: benchmark timed out (timeout 3s)",
            util.TIMEOUT_RETCODE,
            "asv: benchmark timed out (timeout 3s)",
        ),
        ("Killed by something\n\n", -9, "Killed by something"),
        ("", -9, "its process ended with status -9"),
    ],
)
def test_error_in_a_line(stderr, status, line):
    assert error_line(BenchmarkResult([None], [None], [None], status, stderr, None)) == line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (59.6, "1 min"),
        (3569, "59 min"),
        (3580, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_log_has_a_line_for_each_cell(capsys):
    state = State(total=12, done=3, left="5 s left")
    with Lines(state) as lines:
        lines.begin()
        lines.end("a(1) 3 ms")
    assert capsys.readouterr().out == "[ 3/12, 5 s left] a(1) 3 ms\n"


def test_terminal_has_a_line_for_each_cell_and_a_bar_that_names_the_current_one(monkeypatch, capsys):
    rich = pytest.importorskip("rich.console")
    console = rich.Console(force_terminal=True, width=200)
    monkeypatch.setattr(rich, "Console", lambda: console)
    state = State(
        total=12, done=3, outcomes=Counter({"n/a": 2, "failed": 1}), current="a('[x]')", left="5 s left"
    )
    with Bar(state) as bar:
        bar.begin()
        bar.end("a('[x]') 3 ms")
    printed = capsys.readouterr().out
    assert "a('[x]') 3 ms" in printed
    for part in ("3/12", "5 s left", "2 n/a, 1 failed"):
        assert part in printed


def test_signal_waits_while_it_is_held_back():
    with Interruptions() as interruptions:
        reached = []

        def interrupted():
            with interruptions.held_back:
                signal.raise_signal(signal.SIGTERM)
                reached.append("the end")

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert reached
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert interruptions.exit_code == 130


def test_signal_that_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptions() as interruptions:
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert interruptions.signal is None
