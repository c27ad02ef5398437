"""Breakdowns equal a naive reference, to the nanosecond and the byte, on real and on generated traces."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile, record_function

from perfmamba.components import MODEL_RANGE, component_range
from perfmamba.profiling import BY, break_down, read_trace
from tests.profiling.naive_breakdown import load, naive_breakdown

REAL_TRACES = [
    "a100_hta_nccl_gpu_user_annotation.json.gz",
    "h100_bertsmall_torch2.6_mem_stack.json.gz",
    "h100_qwen0.5b_torch2.6_mem_stack.json.gz",
    "v100_kineto_resnet50_legacycats_mem.json.gz",
]


def numbers(cost):
    return (
        cost.launches,
        cost.time_ns,
        cost.union_ns,
        cost.allocated_bytes,
        cost.freed_bytes,
        cost.peak_bytes,
        cost.growth_bytes,
        cost.escaped_bytes,
    )


def parts(breakdown):
    """Every part of the breakdown by its naive label, without those of no cost."""
    costs = {(cost.label, cost.layer): numbers(cost) for cost in breakdown.rows}
    if breakdown.other is not None:
        costs["other", None] = numbers(breakdown.other)
    costs[None] = numbers(breakdown.unattributed)
    return {label: cost for label, cost in costs.items() if any(cost)}


def check(path, by, **options):
    breakdown = break_down(read_trace(path, **options), by)
    rows, total = naive_breakdown(load(path), by)
    assert parts(breakdown) == {label: cost for label, cost in rows.items() if any(cost)}
    assert numbers(breakdown.total) == total
    assert_closes(breakdown)


def assert_closes(breakdown):
    pieces = [*breakdown.rows, breakdown.unattributed, *([breakdown.other] if breakdown.other else [])]
    for additive in ("launches", "time_ns", "allocated_bytes", "freed_bytes"):
        assert sum(getattr(piece, additive) for piece in pieces) == getattr(breakdown.total, additive)


@pytest.mark.slow
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("name", REAL_TRACES)
def test_real_gpu_traces_equal_the_reference(shared_trace, name, by):
    check(shared_trace(name), by)


def record(path, *, python_writer):
    """Two layers of a model on the CPU, in our ranges, with work outside of them on both levels."""
    linear = torch.nn.Linear(16, 16)
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities, record_shapes=True, profile_memory=True, with_stack=True) as profiler:
        kept = torch.ones(64, 64)
        for _ in range(2):
            with record_function(MODEL_RANGE):
                hidden = torch.randn(8, 16)
                for layer in range(2):
                    with record_function(component_range(layer, "norm")):
                        hidden = hidden / hidden.norm()
                    with record_function(component_range(layer, "in_proj")):
                        hidden = linear(hidden)
                kept = hidden.sum()
    assert kept.isfinite()
    options = {"use_python_export": True} if python_writer else {}
    profiler.export_chrome_trace(str(path), **options)


@pytest.mark.parametrize("python_writer", [False, True])
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_cpu_traces_of_this_torch_equal_the_reference(tmp_path, python_writer, suffix):
    path = tmp_path / f"trace{suffix}"
    record(path, python_writer=python_writer)
    for by in BY:
        check(path, by)
    components = break_down(read_trace(path))
    assert {cost.label for cost in components.rows} == {"norm", "in_proj"}
    assert components.device == "cpu"
    assert components.other.time_ns > 0
    assert components.unattributed.time_ns > 0
    layers = break_down(read_trace(path), "layer")
    assert {(cost.label, cost.layer) for cost in layers.rows} == {
        (label, layer) for label in ("norm", "in_proj") for layer in (0, 1)
    }


THREADS = st.sampled_from([(1, 1), (1, "2"), (1, 2), (3, "x")])
TIMES = st.integers(0, 40)
NAMES = {
    "cpu_op": ["aten::add", "aten::mm", "ProfilerStep#1"],
    "Operator": ["aten::add", "ProfilerStep#2"],
    "user_annotation": [
        "ProfilerStep#3",
        "forward",
        MODEL_RANGE,
        component_range(0, "ssm"),
        component_range(1, "ssm"),
    ],
    "python_function": ["nn.Module: Linear_0", "nn.Module: Linear_1", "f.py(3): f", "nn.Module: A"],
    "gpu_user_annotation": ["forward"],
    "cuda_runtime": ["cudaLaunchKernel", "cudaGraphLaunch", "cudaMalloc"],
    "cuda_driver": ["cuLaunchKernelEx"],
    "kernel": ["gemm<float, 1>", 'scan \\"quoted\\" }, {', "\u03bb"],
    "gpu_memcpy": ["Memcpy DtoD"],
    "some_new_category": ["anything"],
}


def milli(time):
    """Nanoseconds as the writers write microseconds."""
    return f"{time // 1000}.{time % 1000:03d}"


@st.composite
def event(draw, categories, origin):
    category = draw(st.sampled_from(categories))
    process, thread = draw(THREADS)
    start = origin + draw(TIMES)
    common = f'"pid": {json.dumps(process)}, "tid": {json.dumps(thread)}, "ts": {milli(start)}'
    if category == "[memory]":
        device_type = draw(st.sampled_from([0, 1]))
        args = {
            "Bytes": draw(st.integers(-3, 3)),
            "Addr": draw(st.integers(1, 3)),
            "Total Allocated": draw(st.integers(0, 9)),
            "Device Type": device_type,
            "Device Id": draw(st.integers(0, 1)) if device_type else -1,
        }
        head = '"ph": "i", "cat": "cpu_instant_event", "name": "[memory]"'
        return f'{{{head}, {common}, "args": {json.dumps(args)}}}'
    name = draw(st.sampled_from(NAMES[category]))
    args = {"External id": 7, "nested": [{"a": 1}, {"b": "}, {"}], "correlation": draw(st.integers(0, 6))}
    quoted = name if "\\" in name else json.dumps(name)[1:-1]
    dur = milli(draw(TIMES))
    head = f'"ph": "X", "cat": "{category}", "name": "{quoted}"'
    return f'{{{head}, {common}, "dur": {dur}, "args": {json.dumps(args)}}}'


@st.composite
def trace_text(draw):
    """The text of a trace: any mixture of categories, any layout, metadata before and after the events."""
    origin = draw(st.sampled_from([0, 4466195121493704, 1712195495519689123]))
    categories = draw(st.lists(st.sampled_from([*NAMES, "[memory]"]), min_size=1, max_size=8, unique=True))
    events = draw(st.lists(event(categories, origin), max_size=25))
    comma = draw(st.sampled_from([",", ", ", "\n  ,\n  ", ",\n"]))
    body = "[" + comma.join(events) + draw(st.sampled_from(["]", "\n  ]"]))
    if draw(st.booleans()):
        return body
    before = draw(
        st.sampled_from(["", '"schemaVersion": 1, "deviceProperties": [{"name": "A"}, {"name": "B"}],'])
    )
    after = draw(st.sampled_from(["", ',\n"traceName": "x", "INFO": ["]}", [{"a": [1]}, {"b": 2}]]\n']))
    return f'{{{before}"traceEvents": {body}{after}}}'


@settings(max_examples=400, deadline=None)
@given(text=trace_text(), buffer_bytes=st.integers(1, 400), by=st.sampled_from(BY))
def test_generated_traces_equal_the_reference(tmp_path_factory, text, buffer_bytes, by):
    path = tmp_path_factory.getbasetemp() / "generated.json"
    path.write_text(text, encoding="utf-8")
    check(path, by, buffer_bytes=buffer_bytes)
