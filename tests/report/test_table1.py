from dataclasses import replace

import pytest

from perfmamba.components import COMPONENTS, PAPER_LABELS
from perfmamba.environment import Environment
from perfmamba.errors import InputError
from perfmamba.profiling.results import ComponentProfile, ModelFacts, ProfileCell, ProfileResult
from perfmamba.report.table1 import table1, table1_against_paper
from perfmamba.table import render

ENVIRONMENT = Environment(
    "A GPU", "A CPU", 2, "Linux x86_64", "580.1", "12.9", ("convolution",), {"torch": "2.13.0"}, "abc"
)


def cost(component, scale):
    return ComponentProfile(
        component=component,
        launches=3.0 * scale,
        time_ns=2e6 * scale,
        union_ns=1e6 * scale,
        allocated_bytes=5e9 * scale,
        peak_bytes=7_000_000_000,
        growth_bytes=1_000_000,
        flops=40_000_000_000 * scale,
        io_bytes=6_000_000 * scale,
    )


def result(model="mamba-130m", generation=1, seqlen=64, **changes):
    """A result in which the cost of component i is i times that of the first."""
    parts = [cost(component, scale) for scale, component in enumerate((*COMPONENTS, "other"), start=1)]
    unattributed = replace(cost("unattributed", 0), peak_bytes=None)
    cell = {
        "mode": "prefill",
        "batch": 8,
        "dtype": "float32",
        "device": "cuda",
        "layers": None,
        "backend": None,
    }
    cell |= {key: changes.pop(key) for key in list(changes) if key in cell}
    values = {
        "status": "ok",
        "facts": ModelFacts(generation, "random (seed 0)", 24, {"conv": "torch", "ssm": "mamba_ssm"}),
        "latency_ms": (41.0, 39.0, 90.0),
        "components": (*parts, unattributed),
        "total": cost("total", 21),
    }
    return ProfileResult(
        cell=ProfileCell(model, seqlen=seqlen, warmup=3, repeat=3, seed=0, **cell),
        **{"environment": ENVIRONMENT} | values | changes,
    )


BOTH = [result("mamba2-130m", 2), result(), result(seqlen=8), result("mamba2-130m", 2, seqlen=8)]


def rows_of(table, **wanted):
    return [
        record for record in table.records() if all(record[key] == value for key, value in wanted.items())
    ]


def headers_of(table):
    return [column.header.replace("\n", " ") for column in table.columns[2:]]


def test_rows_are_lengths_and_components_then_total_and_latency():
    table = table1(BOTH)
    labels = [*PAPER_LABELS.values(), "other", "total", "pass, not profiled"]
    assert [(row["seqlen"], row["component"]) for row in table.records()] == [
        (seqlen, label) for seqlen in (8, 64) for label in labels
    ]
    assert table.sections == {0, len(labels)}


def test_values_are_those_of_the_results():
    (row,) = rows_of(table1(BOTH), seqlen=64, component="State Space")
    assert row["flops_mamba_2"] == 160_000_000_000
    assert row["allocated_bytes_mamba_1"] == 20e9
    assert row["io_bytes_per_s_mamba_1"] == 24_000_000 / 8e-3
    assert row["time_ns_mamba_1"] == 8e6
    assert row["share_mamba_2"] == pytest.approx(4 / 21)


def test_shares_close():
    rows = rows_of(table1(BOTH), seqlen=8)
    parts = [row["share_mamba_1"] for row in rows if row["component"] not in {"total", "pass, not profiled"}]
    assert sum(parts) == pytest.approx(1)
    assert rows[-2]["share_mamba_1"] == 1


def test_the_latency_is_the_median_without_the_profiler():
    (row,) = rows_of(table1(BOTH), seqlen=64, component="pass, not profiled")
    assert row["time_ns_mamba_1"] == 41e6
    assert row["flops_mamba_1"] is row["share_mamba_1"] is None


def test_mamba1_comes_first_and_units_suit_the_largest_total():
    headers = [column.header for column in table1(BOTH).columns]
    assert headers[2:6] == [
        "GFLOP\nMamba-1",
        "GFLOP\nMamba-2",
        "allocated GB\nMamba-1",
        "allocated GB\nMamba-2",
    ]
    small = [replace(result(), total=replace(cost("total", 1), flops=5_000_000, allocated_bytes=20e6))]
    assert [column.header for column in table1(small).columns][2:4] == [
        "kFLOP\nMamba-1",
        "allocated MB\nMamba-1",
    ]


@pytest.mark.parametrize(("memory", "expected"), [("peak", 7_000_000_000), ("growth", 1_000_000)])
def test_the_other_memories(memory, expected):
    table = table1(BOTH, memory=memory)
    (row,) = rows_of(table, seqlen=64, component="total")
    assert row[f"{memory}_bytes_mamba_2"] == expected
    assert any(note.startswith(f"{memory}: ") for note in table.notes)


def test_unattributed_work_has_a_row_only_where_there_is_any():
    assert not rows_of(table1(BOTH), component="unattributed")
    leaky = result(components=(*result().components[:-1], cost("unattributed", 1)))
    assert len(rows_of(table1([leaky, BOTH[2]]), component="unattributed")) == 1


def test_depth_weights_machine_and_remarks_are_noted():
    cut = result(layers=2, notes=("It rained.",))
    notes = table1([cut, BOTH[0]]).notes
    loaded = "weights: random (seed 0); conv by transformers (torch), ssm by mamba_ssm"
    assert f"Mamba-1: mamba-130m, 2 of 24 layers, {loaded}." in notes
    assert f"Mamba-2: mamba2-130m, all 24 layers, {loaded}." in notes
    assert "Mamba-1 at length 64: It rained." in notes
    machine = "A GPU (CPU threads: 2, driver 580.1, CUDA 12.9, TF32 in convolution)"
    assert notes[-1] == f"Measured on {machine}; torch 2.13.0; commit abc."
    assert "It rained." in table1([cut]).notes


def test_out_of_memory_leaves_the_cells_empty_and_says_so():
    failed = result(
        seqlen=64, status="out_of_memory", error="no room", components=(), total=None, latency_ms=()
    )
    table = table1([failed, BOTH[0]])
    (row,) = rows_of(table, component="total")
    assert row["flops_mamba_1"] is None
    assert row["flops_mamba_2"] == 840_000_000_000
    assert "Mamba-1 at length 64: out of memory (no room)." in table.notes


def test_a_model_that_did_not_fit_into_memory():
    failed = result(
        status="out_of_memory", error="no room", components=(), total=None, latency_ms=(), facts=None
    )
    table = table1([failed, BOTH[0]])
    assert headers_of(table)[:2] == ["GFLOP mamba-130m", "GFLOP Mamba-2"]
    assert "mamba-130m: mamba-130m, which could not be loaded." in table.notes
    assert table1_against_paper([failed, BOTH[0]]).rows


def test_results_of_two_machines_are_not_mixed():
    other = result("mamba2-130m", 2, environment=replace(ENVIRONMENT, device="Another GPU"))
    with pytest.raises(InputError, match=r"several machines: A GPU \(2 threads\), Another GPU"):
        table1([result(), other])


def test_results_of_two_commits_say_which_is_which():
    other = result("mamba2-130m", 2, environment=replace(ENVIRONMENT, commit="def"))
    notes = table1([result(), other]).notes
    assert notes[-2].startswith("Mamba-1 at length 64: Measured on")
    assert notes[-1].startswith("Mamba-2 at length 64: Measured on")


@pytest.mark.parametrize(("device", "weights"), [("cpu", "no weights"), ("cuda", "weights included")])
def test_peaks_say_whether_weights_are_in_them(device, weights):
    (note,) = [
        note for note in table1([result(device=device)], memory="peak").notes if note.startswith("peak")
    ]
    assert note.endswith(f"{weights}.")


def test_two_models_of_a_generation_keep_their_names():
    headers = headers_of(table1([result(), result("mamba-370m")]))
    assert headers[:2] == ["GFLOP mamba-130m", "GFLOP mamba-370m"]


def test_backends_of_a_model_have_columns_of_their_own():
    both = [result("mamba2-130m", 2, backend=backend) for backend in ("torch", "hf")]
    assert [header for header in headers_of(table1(both)) if "share" in header] == [
        "share % Mamba-2 hf",
        "share % Mamba-2 torch",
    ]
    assert "share % Mamba-2" in headers_of(table1(both[:1]))


def test_lengths_that_only_one_model_has():
    (row,) = rows_of(table1([result(), result("mamba2-130m", 2, seqlen=8)]), seqlen=8, component="total")
    assert row["time_ns_mamba_1"] is None
    assert row["time_ns_mamba_2"] == 42e6


@pytest.mark.parametrize("axis", [{"mode": "decode"}, {"batch": 1}, {"dtype": "bfloat16"}, {"device": "cpu"}])
def test_results_that_do_not_belong_in_one_table(axis):
    (name,) = axis
    with pytest.raises(InputError, match=f"these results are of {name} .*--{name}"):
        table1([result(), result("mamba2-130m", 2, **axis)])


def test_against_the_paper_every_quantity_has_its_ratio():
    table = table1_against_paper(BOTH)
    (flops,) = rows_of(table, seqlen=64, component="State Space", metric="GFLOP")
    assert (flops["mamba_1"], flops["paper_mamba_1"]) == (160.0, 68.63)
    assert flops["ratio_mamba_1"] == pytest.approx(160 / 68.63)
    (time,) = rows_of(table, seqlen=64, component="RMSNorm", metric="time ms")
    assert (time["mamba_2"], time["paper_mamba_2"]) == (2.0, 2.9)


def test_against_the_paper_what_it_lacks_is_empty():
    table = table1_against_paper(BOTH)
    (of_length,) = rows_of(table, seqlen=8, component="State Space", metric="GFLOP")
    (of_row,) = rows_of(table, seqlen=64, component="other", metric="GFLOP")
    for row in (of_length, of_row):
        assert row["mamba_1"] is not None
        assert row["paper_mamba_1"] is row["ratio_mamba_1"] is None


def test_cut_layers_and_slow_profiles_are_cautioned_about():
    cautions = "Layers are cut", "Slower under the profiler"
    assert not [note for note in table1(BOTH).notes if note.startswith(cautions)]
    slow = result(layers=2, latency_ms=(21.0, 21.0, 21.0))
    notes = [note for note in table1([slow, *BOTH[:1]]).notes if note.startswith(cautions)]
    assert len(notes) == 2
    assert notes[1].endswith("Mamba-1 at length 64 (2.0x).")


def test_what_is_not_counted_is_said():
    parts = [replace(part, flops=None, io_bytes=None) for part in result().components]
    foreign = result(components=tuple(parts), total=replace(cost("total", 21), flops=None, io_bytes=None))
    assert "FLOPs and I/O are counted for models of type mamba and mamba2 only." in table1([foreign]).notes


def test_it_reads_as_text():
    text = render(table1(BOTH), "text")
    assert text.startswith("Table 1: cost of one prefill pass by component, batch 8, float32, A GPU")
    assert max(len(line) for line in text.splitlines() if "State Space" in line) < 140
