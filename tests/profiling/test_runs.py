from dataclasses import replace

import msgspec
import pytest
import torch

from perfmamba.components import COMPONENTS
from perfmamba.errors import InputError, ModelError
from perfmamba.models import LoadedModel
from perfmamba.profiling import break_down, read_trace
from perfmamba.profiling.counts import count, dimensions
from perfmamba.profiling.grid import make_jobs, pending_jobs, run_jobs
from perfmamba.profiling.results import Cell, read_result, read_results, result_path, trace_path
from perfmamba.profiling.runs import forward_pass, is_out_of_memory, run_cell
from tests.small_models import small_mamba1, small_mamba2

CPU = torch.device("cpu")
GRID = {
    "modes": ("prefill", "decode"),
    "seqlens": (5, 3),
    "batch": 2,
    "dtype": "float32",
    "device": CPU,
    "layers": None,
    "warmup": 0,
    "repeat": 2,
    "seed": 0,
}


def cell_of(name="tiny", mode="prefill", seqlen=5):
    return Cell(name, mode, seqlen, 2, "float32", "cpu", None, 1, 3, 0)


@pytest.fixture(params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def loaded(request):
    return LoadedModel("tiny", request.param(), "random (seed 1)", 2, 2)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint folder that `make_jobs` takes as a source."""
    small_mamba2().save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


@pytest.mark.parametrize("mode", ["prefill", "decode"])
def test_a_result_is_the_mean_of_its_trace(loaded, mode, tmp_path):
    cell = cell_of(mode=mode)
    result = run_cell(loaded, cell, tmp_path)
    breakdown = break_down(read_trace(trace_path(tmp_path, cell)))
    for measured in (*result.components, result.total):
        costs = {cost.label: cost for cost in (*breakdown.rows, breakdown.other, breakdown.unattributed)}
        cost = costs.get(measured.component, breakdown.total)
        assert measured.time_ns * 3 == pytest.approx(cost.time_ns)
        assert measured.allocated_bytes * 3 == pytest.approx(cost.allocated_bytes)
        assert measured.launches * 3 == pytest.approx(cost.launches)
        assert measured.peak_bytes == cost.peak_bytes
    assert {cost.component for cost in result.components} == {*COMPONENTS, "other", "unattributed"}
    assert result.status == "ok"
    assert len(result.latency_ms) == 3


@pytest.mark.parametrize("mode", ["prefill", "decode"])
def test_components_sum_to_the_total_and_nothing_is_unattributed(loaded, mode, tmp_path):
    result = run_cell(loaded, cell_of(mode=mode), tmp_path)
    for field in ("time_ns", "launches", "allocated_bytes"):
        parts = sum(getattr(cost, field) for cost in result.components)
        assert parts == pytest.approx(getattr(result.total, field))
    unattributed = next(cost for cost in result.components if cost.component == "unattributed")
    assert unattributed.launches == unattributed.allocated_bytes == 0


def test_counts_are_those_of_the_shapes(loaded, tmp_path):
    result = run_cell(loaded, cell_of(), tmp_path)
    totals = count(dimensions(loaded.model.config), batch=2, seqlen=5).totals()
    for cost in result.components:
        expected = totals.get(cost.component)
        assert cost.flops == (expected and expected.flops)
    assert result.total.flops == sum(counted.flops for counted in totals.values())
    assert result.total.io_bytes == sum(counted.moved_bytes(element_bytes=4) for counted in totals.values())


def test_a_result_is_read_back_as_it_was_written(loaded, tmp_path):
    cell = cell_of()
    result = run_cell(loaded, cell, tmp_path)
    assert read_result(result_path(tmp_path, cell)) == result
    assert read_results(tmp_path) == (result,)
    assert str(tmp_path) not in result_path(tmp_path, cell).read_text()


def test_a_decode_step_goes_on_from_the_prefill(loaded):
    with torch.inference_mode():
        step = forward_pass(loaded, cell_of(mode="decode", seqlen=7), CPU)
        first, second = step().logits, step().logits
        prompt = torch.randint(
            loaded.model.config.vocab_size, (2, 7), generator=torch.Generator().manual_seed(0)
        )
        whole = torch.cat([prompt, prompt[:, -1:], prompt[:, -1:]], dim=1)
        expected = loaded.model(whole).logits
    torch.testing.assert_close(first[:, 0], expected[:, 7], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second[:, 0], expected[:, 8], rtol=1e-4, atol=1e-4)


def test_out_of_memory_is_a_result_and_removes_the_stale_trace(loaded, tmp_path):
    cell = replace(cell_of(), batch=1 << 40, seqlen=1 << 10)
    trace_path(tmp_path, cell).write_bytes(b"of an earlier run")
    result = run_cell(loaded, cell, tmp_path)
    assert result.status == "out_of_memory"
    assert "allocate" in result.error or "memory" in result.error
    assert (result.components, result.total, result.latency_ms) == ((), None, ())
    assert read_results(tmp_path) == (result,)
    assert not trace_path(tmp_path, cell).exists()


def test_other_errors_are_not_out_of_memory():
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))


def test_the_grid_is_every_combination_with_small_lengths_first(folder):
    jobs = make_jobs([folder, "mamba-130m"], **GRID)
    assert [(job.cell.model, job.cell.mode, job.cell.seqlen) for job in jobs] == [
        (model, mode, seqlen)
        for model in ("tiny", "mamba-130m")
        for mode in ("prefill", "decode")
        for seqlen in (3, 5)
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seqlens": (64, 0)}, "--seqlen 0: give a number of at least 1"),
        ({"batch": 0}, "--batch 0"),
        ({"repeat": 0}, "--repeat 0"),
        ({"warmup": -1}, "--warmup -1"),
    ],
)
def test_numbers_out_of_range(change, message):
    with pytest.raises(InputError, match=message):
        make_jobs(["mamba-130m"], **GRID | change)


def test_wrong_models_are_refused_before_anything_runs():
    with pytest.raises(ModelError, match="no model 'mamba-131m'"):
        make_jobs(["mamba-130m", "mamba-131m"], **GRID)
    with pytest.raises(ModelError, match="layers=25"):
        make_jobs(["mamba-130m"], **GRID | {"layers": 25})
    with pytest.raises(InputError, match="the same name"):
        make_jobs(["mamba-130m", "mamba-130m"], **GRID)


def test_an_interrupted_grid_is_resumed(folder, tmp_path):
    out = tmp_path / "out"
    jobs = make_jobs([folder], **GRID)
    running = run_jobs(pending_jobs(jobs, out, "refuse"), out, device=CPU)
    done = [next(running), next(running)]
    running.close()
    with pytest.raises(InputError, match=r"already holds results of 2 of these 4 cells; --resume"):
        pending_jobs(jobs, out, "refuse")
    rest = pending_jobs(jobs, out, "resume")
    assert [job.cell for job in rest] == [job.cell for job in jobs[2:]]
    assert len([*done, *run_jobs(rest, out, device=CPU)]) == len(read_results(out)) == 4
    assert pending_jobs(jobs, out, "resume") == ()
    assert pending_jobs(jobs, out, "overwrite") == jobs


def test_resume_measures_again_what_was_measured_otherwise_or_broke(folder, tmp_path):
    jobs = make_jobs([folder], **GRID | {"modes": ("prefill",)})
    list(run_jobs(jobs, tmp_path, device=CPU))
    other_seed = make_jobs([folder], **GRID | {"modes": ("prefill",), "seed": 1})
    assert pending_jobs(other_seed, tmp_path, "resume") == other_seed
    result_path(tmp_path, jobs[0].cell).write_text('{"cell":')
    assert pending_jobs(jobs, tmp_path, "resume") == jobs[:1]


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"cell": {}}', b"\xff\xfe"])
def test_a_file_that_is_not_a_result(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: not a profiling result"):
        read_results(tmp_path)


def test_folders_without_results(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_results(tmp_path / "missing")
    with pytest.raises(InputError, match="no profiling results here"):
        read_results(tmp_path)


def test_a_result_of_another_version_is_refused(loaded, tmp_path):
    cell = cell_of()
    run_cell(loaded, cell, tmp_path)
    path = result_path(tmp_path, cell)
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {"schema": 2}))
    with pytest.raises(InputError, match="not a profiling result"):
        read_result(path)
