"""The traces that parsing is measured on are traces, as large as asked, and known in what they cost."""

import json

from benchmarks.large_trace import LAYERS, OPS_PER_COMPONENT, generated_step, write_large_trace
from perfmamba.components import COMPONENTS
from perfmamba.profiling import break_down, read_trace


def test_a_large_trace_is_its_step_repeated(tmp_path):
    step = generated_step()
    once, many = tmp_path / "once.json", tmp_path / "many.json"
    events = write_large_trace(once, step, 1)
    assert events == len(json.loads(once.read_text())["traceEvents"]) == len(step)
    assert write_large_trace(many, step, 5 * once.stat().st_size) > 4 * events
    assert many.stat().st_size >= 5 * once.stat().st_size

    launches = LAYERS * len(COMPONENTS) * OPS_PER_COMPONENT
    single, repeated = break_down(read_trace(once)), break_down(read_trace(many))
    assert single.total.launches == launches
    assert repeated.total.launches % launches == 0
    repetitions = repeated.total.launches // launches
    assert repeated.total.time_ns == repetitions * single.total.time_ns == repetitions * launches * 18_112
    assert repeated.total.union_ns == repetitions * single.total.union_ns
    assert {cost.label for cost in repeated.rows} == set(COMPONENTS)
    assert repeated.other.launches == repeated.unattributed.launches == 0


def test_correlations_and_times_of_repetitions_do_not_meet(tmp_path):
    path = tmp_path / "trace.json"
    write_large_trace(path, generated_step(), 6_000_000)
    trace = read_trace(path)
    assert len(set(trace.kernels.correlation.tolist())) == len(trace.kernels)
    assert (trace.kernels.start_ns[1:] >= trace.kernels.end_ns[:-1]).all()
