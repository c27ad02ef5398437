"""The rules of attribution, one small trace each, with the numbers written out."""

import json

import pytest

from perfmamba.components import FINAL_LAYER, MODEL_RANGE, component_range
from perfmamba.profiling import break_down, read_trace
from perfmamba.report.breakdown import breakdown_table
from perfmamba.table import render


def span(category, name, start, end, *, thread=1, **args):
    times = {"ts": start, "dur": end - start}
    return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": thread, **times, "args": args}


def launch(time, correlation, name="cudaLaunchKernel", thread=1):
    return span("cuda_runtime", name, time, time + 1, thread=thread, correlation=correlation)


def kernel(start, end, correlation, name="k", stream=7):
    return span("kernel", name, start, end, thread=stream, correlation=correlation)


def memory(time, size, address, total, *, thread=1, device=0):
    args = {"Bytes": size, "Addr": address, "Total Allocated": total, "Device Type": 1, "Device Id": device}
    head = {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 1, "tid": thread}
    return {**head, "ts": time, "args": args}


@pytest.fixture
def broken_down(tmp_path):
    def break_events(events, by="component"):
        path = tmp_path / "trace.json"
        path.write_text(json.dumps({"traceEvents": events}))
        return break_down(read_trace(path), by)

    return break_events


def by_label(breakdown):
    return {cost.label: cost for cost in breakdown.rows}


SSM, CONV = component_range(0, "ssm"), component_range(0, "conv")


def test_a_kernel_belongs_to_the_range_of_its_launch_not_of_its_own_time(broken_down):
    events = [
        span("user_annotation", SSM, 0, 10),
        span("user_annotation", CONV, 20, 30),
        launch(5, 1),
        kernel(22, 26, 1),
    ]
    assert by_label(broken_down(events))["ssm"].time_ns == 4000


def test_the_launching_thread_counts(broken_down):
    events = [
        span("user_annotation", SSM, 0, 10, thread=1),
        span("user_annotation", CONV, 0, 10, thread=2),
        launch(5, 1, thread=2),
        kernel(22, 26, 1),
    ]
    assert set(by_label(broken_down(events))) == {"conv"}


def test_external_ids_and_gpu_ranges_do_not_count(broken_down):
    events = [
        span("user_annotation", SSM, 0, 10, **{"External id": 3}),
        span("user_annotation", CONV, 20, 30, **{"External id": 4}),
        span("gpu_user_annotation", CONV, 40, 50, thread=7, **{"External id": 4}),
        launch(5, 1),
        span("kernel", "k", 41, 44, thread=7, correlation=1, **{"External id": 4}),
    ]
    assert set(by_label(broken_down(events))) == {"ssm"}


def test_other_is_inside_the_model_and_unattributed_outside(broken_down):
    events = [
        span("user_annotation", MODEL_RANGE, 0, 100),
        span("user_annotation", SSM, 10, 20),
        span("user_annotation", "mine", 40, 60),
        *(launch(time, time) for time in (15, 50, 200)),
        kernel(300, 301, 15),
        kernel(310, 312, 50),
        kernel(320, 324, 200),
        kernel(330, 338, 999),
    ]
    breakdown = broken_down(events)
    assert by_label(breakdown)["ssm"].time_ns == 1000
    assert breakdown.other.time_ns == 2000
    assert breakdown.unattributed.time_ns == 12000
    assert breakdown.total.time_ns == 15000
    assert any("1 of 4 kernels" in note and "before the recorded window" in note for note in breakdown.notes)


def test_elapsed_time_counts_an_overlap_of_streams_once(broken_down):
    events = [
        span("user_annotation", SSM, 0, 10),
        launch(1, 1),
        launch(2, 2),
        kernel(20, 30, 1, stream=7),
        kernel(25, 37, 2, stream=8),
    ]
    cost = by_label(broken_down(events))["ssm"]
    assert (cost.launches, cost.time_ns, cost.union_ns) == (2, 22000, 17000)


def test_a_graph_replay_stays_whole_and_is_labelled(broken_down):
    events = [
        span("user_annotation", SSM, 0, 10),
        span("user_annotation", CONV, 20, 30),
        launch(5, 1, "cudaGraphLaunch"),
        launch(25, 2),
        *(kernel(time, time + 1, 1) for time in (21, 23, 25)),
        kernel(40, 41, 2),
    ]
    breakdown = broken_down(events)
    assert by_label(breakdown)["ssm"].launches == 3
    (note,) = (note for note in breakdown.notes if "CUDA graphs" in note)
    assert (
        "3 of 4 kernels, copies and memsets (75.0% of device time) were replayed by 1 graph launches" in note
    )


def test_memory_by_its_four_names(broken_down):
    events = [
        span("user_annotation", MODEL_RANGE, 0, 100),
        span("user_annotation", SSM, 10, 20),
        span("user_annotation", SSM, 30, 40),
        memory(5, 100, 0xA, 1100),
        memory(11, 50, 0xB, 1150),
        memory(12, -50, 0xB, 1100),
        memory(13, 70, 0xC, 1170),
        memory(31, -70, 0xC, 1100),
        memory(32, -1000, 0xD, 100),
        memory(33, 30, 0xE, 130),
        launch(15, 1),
        kernel(16, 17, 1),
    ]
    breakdown = broken_down(events)
    ssm = by_label(breakdown)["ssm"]
    assert ssm.allocated_bytes == 50 + 70 + 30
    assert ssm.freed_bytes == 50 + 70 + 1000
    assert ssm.peak_bytes == 1170
    assert ssm.growth_bytes == 70
    assert ssm.escaped_bytes == 70 + 30
    assert breakdown.other.growth_bytes == 100
    total = breakdown.total
    assert (total.allocated_bytes, total.peak_bytes, total.growth_bytes, total.escaped_bytes) == (
        250,
        1170,
        170,
        130,
    )


def test_levels_of_memory_are_those_of_one_device(broken_down):
    events = [
        span("user_annotation", SSM, 0, 10),
        memory(1, 10, 0xA, 500, device=0),
        memory(2, 10, 0xA, 20, device=1),
        memory(3, -10, 0xA, 490, device=0),
        launch(5, 1),
        kernel(6, 7, 1),
    ]
    ssm = by_label(broken_down(events))["ssm"]
    assert (ssm.peak_bytes, ssm.growth_bytes, ssm.escaped_bytes) == (500, 10, 10)


def test_cpu_time_is_self_time(broken_down):
    events = [
        span("user_annotation", SSM, 0, 50),
        span("cpu_op", "outer", 10, 30),
        span("cpu_op", "inner", 12, 20),
        span("cpu_op", "innermost", 13, 15),
        span("cpu_op", "next", 30, 31),
    ]
    times = {cost.label: cost.time_ns for cost in broken_down(events, "op").rows}
    assert times == {"outer": 12000, "inner": 6000, "innermost": 2000, "next": 1000}
    assert by_label(broken_down(events))["ssm"].time_ns == 21000


def test_foreign_traces_say_what_they_are_broken_down_by(broken_down):
    op = span("cpu_op", "aten::add", 2, 3)
    module = span("python_function", "nn.Module: Linear_3", 1, 8)
    annotation = span("user_annotation", "forward", 0, 9)
    step = span("user_annotation", "ProfilerStep#1", 0, 9)
    for events, kind, label in [
        ([step, op, module, annotation], "annotation", "forward"),
        ([step, op, module], "module class", "Linear"),
        ([step, op], "outermost operator", "aten::add"),
    ]:
        breakdown = broken_down(events)
        assert (breakdown.kind, [cost.label for cost in breakdown.rows]) == (kind, [label])
        assert kind.split()[0] in breakdown.notes[0].replace("annotated", "annotation").replace(
            "nn.Module", "module"
        )
        assert breakdown.other is None


def test_the_table_sums_what_it_does_not_show_and_closes(broken_down):
    events = [span("cpu_op", f"op{i}", 10 * i, 10 * i + i + 1) for i in range(5)]
    table = breakdown_table(broken_down(events, "op"), top=2)
    rows = list(table.records())
    assert [row["label"] for row in rows] == ["op4", "op3", "(3 more)", "unattributed", "total"]
    assert sum(row["time_ns"] for row in rows[:-1]) == rows[-1]["time_ns"]
    assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1)
    assert "union_ns" not in rows[0]
    assert "allocated_bytes" not in rows[0]
    assert any("profile_memory" in note for note in table.notes)
    assert "op4" in render(table, "text")


def test_layers_have_a_column_and_long_labels_can_be_shortened(broken_down):
    events = [
        span("user_annotation", component_range(FINAL_LAYER, "conv"), 0, 5),
        span("user_annotation", component_range(1, "conv"), 10, 15),
    ]
    events += [launch(1, 1), launch(11, 2), kernel(20, 21, 1, name="a" * 60 + "b" * 60), kernel(30, 31, 2)]
    layers = breakdown_table(broken_down(events, "layer"))
    assert [(row["label"], row["layer"]) for row in layers.records()][:2] == [
        ("Conv. Transform", "final"),
        ("Conv. Transform", 1),
    ]
    kernels = breakdown_table(broken_down(events, "kernel"), label_width=20)
    assert next(kernels.records())["label"] == "a" * 13 + "\N{HORIZONTAL ELLIPSIS}" + "b" * 6


def test_launches_that_two_processes_number_alike_own_nothing(broken_down):
    def of_rank(rank, *events):
        return [event | {"pid": rank} for event in events]

    ssm, conv = (component_range(0, component) for component in ("ssm", "conv"))
    events = [
        *of_rank(1, span("user_annotation", ssm, 0, 10), launch(1, 7), launch(2, 8)),
        *of_rank(2, span("user_annotation", conv, 0, 10), launch(1, 7), launch(2, 9)),
        *(kernel(20 + number, 21 + number, number) for number in (7, 8, 9)),
    ]
    breakdown = broken_down(events)
    assert {cost.label: cost.launches for cost in breakdown.rows} == {"ssm": 1, "conv": 1}
    assert breakdown.unattributed.launches == 1
    assert any(note.startswith("Several processes") for note in breakdown.notes)


def test_correlation_0_is_no_launch(broken_down):
    events = [
        span("user_annotation", component_range(0, "ssm"), 0, 10),
        launch(1, 0, name="cudaStreamSynchronize"),
        kernel(20, 21, 0),
    ]
    assert broken_down(events).unattributed.launches == 1


def test_sums_over_several_steps_say_so(broken_down):
    steps = [span("user_annotation", f"ProfilerStep#{i}", 10 * i, 10 * i + 9) for i in range(3)]
    ops = [span("cpu_op", "aten::add", 10 * i, 10 * i + 1) for i in range(3)]
    sums = "All numbers are sums over 3 profiler steps."
    assert sums in breakdown_table(broken_down([*steps, *ops], "op")).notes
    assert not any("steps" in note for note in breakdown_table(broken_down([*steps[:1], *ops], "op")).notes)
