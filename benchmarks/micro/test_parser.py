"""The trace parser, as a whole and stage by stage, on a generated trace.

A step of the trace has 24 layers and 2.3 MB of text. The stages: text to typed events, events to columns,
launches to the ranges that hold them, costs to rows.
The expected results are known, because the trace is generated: every operator launches one kernel.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.large_trace import (
    COMPONENTS,
    LAYERS,
    OPS_PER_COMPONENT,
    generated_step,
    write_large_trace,
)
from perfmamba.profiling import By, Trace, break_down, read_trace
from perfmamba.profiling.columns import ColumnBuilder, Indices
from perfmamba.profiling.events import EventDecoder, Kind
from perfmamba.profiling.nesting import RangeIndex

TimeCall = Callable[..., object]
"""The fixture of pytest-benchmark, which has no types: times a call with arguments."""

STEPS = 8
RANGES = LAYERS * len(COMPONENTS)
KERNELS = RANGES * OPS_PER_COMPONENT
KERNEL_NS = 18_112
ROWS = {"component": len(COMPONENTS), "layer": RANGES, "op": len(COMPONENTS) * OPS_PER_COMPONENT, "kernel": 1}


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step, as Kineto writes it."""
    path = tmp_path_factory.mktemp("trace") / "one.json"
    write_large_trace(path, generated_step(), 1)
    return path


@pytest.fixture(scope="session")
def many_path(path: Path) -> Path:
    """The step repeated, so that the fixed cost of reading a file hardly counts."""
    many = path.with_name("many.json")
    write_large_trace(many, generated_step(), (2 * STEPS - 1) * path.stat().st_size // 2)
    return many


@pytest.fixture(scope="session")
def trace(path: Path) -> Trace:
    return read_trace(path)


@pytest.fixture(scope="session")
def events_text(path: Path) -> memoryview:
    """The list of the trace's events, without the metadata before them."""
    return memoryview(json.dumps(json.loads(path.read_bytes())["traceEvents"][1:]).encode())


def assert_complete(trace: Trace, steps: int) -> None:
    assert trace.kernels.duration_ns.tolist() == [KERNEL_NS] * KERNELS * steps
    assert len(trace.launches) == KERNELS * steps
    assert len(trace.memory) == 2 * KERNELS * steps


def test_read_one_step(benchmark: TimeCall, path: Path) -> None:
    assert_complete(read_trace(path), 1)
    benchmark(read_trace, path)


def test_read_many_steps(benchmark: TimeCall, many_path: Path) -> None:
    assert_complete(read_trace(many_path), STEPS)
    benchmark(read_trace, many_path)


def test_read_many_steps_gzip(benchmark: TimeCall, many_path: Path, tmp_path: Path) -> None:
    compressed = tmp_path / "many.json.gz"
    compressed.write_bytes(gzip.compress(many_path.read_bytes(), compresslevel=6))
    assert_complete(read_trace(compressed), STEPS)
    benchmark(read_trace, compressed)


def test_decode_events(benchmark: TimeCall, events_text: memoryview) -> None:
    decoder = EventDecoder()
    counts = {kind: len(events) for kind, events in decoder.decode(events_text).items() if events}
    assert counts == {
        Kind.OP: 2 * KERNELS,
        Kind.ANNOTATION: RANGES + 2,  # and the model and the step around them
        Kind.PYTHON_CALL: KERNELS,
        Kind.LAUNCH: KERNELS,
        Kind.KERNEL: KERNELS,
        Kind.MEMORY: 2 * KERNELS,
        Kind.IGNORED: 2 * KERNELS,
    }
    benchmark(decoder.decode, events_text)


def test_build_columns(benchmark: TimeCall, events_text: memoryview, trace: Trace) -> None:
    events = EventDecoder().decode(events_text)

    def build() -> ColumnBuilder:
        columns = ColumnBuilder()
        columns.add(events)
        return columns

    kernels = build().kernels()
    assert kernels.start_ns.tolist() == trace.kernels.start_ns.tolist()
    assert kernels.correlation.tolist() == trace.kernels.correlation.tolist()
    benchmark(build)


def test_find_ranges(benchmark: TimeCall, trace: Trace) -> None:
    launches = trace.launches

    def find() -> Indices:
        return RangeIndex(trace.annotations).innermost(launches.thread, launches.start_ns)

    # ranges and launches lie in the file in the order of time
    assert find().tolist() == [launch // OPS_PER_COMPONENT for launch in range(KERNELS)]
    benchmark(find)


@pytest.mark.parametrize("by", ROWS)
def test_break_down(benchmark: TimeCall, trace: Trace, by: By) -> None:
    breakdown = break_down(trace, by)
    assert len(breakdown.rows) == ROWS[by]
    assert {cost.time_ns for cost in breakdown.rows} == {KERNELS * KERNEL_NS // ROWS[by]}
    assert breakdown.unattributed.time_ns == 0
    benchmark(break_down, trace, by)
