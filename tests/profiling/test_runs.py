import json
import shutil
import weakref
from dataclasses import replace

import msgspec
import pytest
import torch

from perfmamba.components import COMPONENTS, MODEL_RANGE
from perfmamba.errors import InputError, ModelError, reason
from perfmamba.models import LoadedModel, load_model
from perfmamba.models.bridged import BridgedMamba2Config, BridgedMamba2ForCausalLM
from perfmamba.profiling import break_down, read_trace
from perfmamba.profiling.completeness import missing_from
from perfmamba.profiling.counts import count, dimensions
from perfmamba.profiling.grid import make_jobs, pending_jobs, run_jobs
from perfmamba.profiling.recording import record_trace
from perfmamba.profiling.results import ProfileCell, read_result, read_results, result_path, trace_path
from perfmamba.profiling.runs import cache_argument, forward_pass, is_out_of_memory, run_cell
from tests.models.test_backends import HYBRIDS, model_of
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
    return ProfileCell(name, mode, seqlen, 2, "float32", "cpu", None, 1, 3, 0)


def bridged_mamba2():
    config = small_mamba2().config
    smaller = BridgedMamba2Config.of(config, bridge="balanced", state_size=config.state_size // 2)
    return BridgedMamba2ForCausalLM(smaller).eval()


@pytest.fixture(params=[small_mamba1, small_mamba2, bridged_mamba2], ids=["mamba1", "mamba2", "bridged"])
def loaded(request):
    generation = 1 if request.param is small_mamba1 else 2
    backend = {"conv": "torch", "ssm": "torch"}
    return LoadedModel("tiny", request.param(), generation, "random (seed 1)", backend, 2, 2)


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


def test_backends_are_cells_of_one_model(folder, tmp_path):
    jobs = make_jobs([folder], **GRID | {"modes": ("prefill",), "backends": ("hf", "torch")})
    assert [(job.cell.seqlen, job.cell.backend) for job in jobs] == [
        (3, "hf"),
        (3, "torch"),
        (5, "hf"),
        (5, "torch"),
    ]
    results = list(run_jobs(jobs, tmp_path, device=CPU))
    assert [result.facts.backend["ssm"] for result in results] == ["torch", "perfmamba_kernels (torch)"] * 2
    assert {result.status for result in results} == {"ok"}
    assert len(read_results(tmp_path)) == len(jobs)


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


def test_an_error_of_one_cell_is_a_result_and_the_next_cells_are_measured(folder, tmp_path, monkeypatch):
    def broken_for_three_tokens(loaded, cell, device):
        if cell.seqlen == 3:
            raise AttributeError("no attribute 'cache_params'\nDid you mean: ...")
        return forward_pass(loaded, cell, device)

    monkeypatch.setattr("perfmamba.profiling.runs.forward_pass", broken_for_three_tokens)
    jobs = make_jobs([folder], **GRID | {"modes": ("prefill",)})
    broken, measured = run_jobs(jobs, tmp_path, device=CPU)
    assert (broken.status, broken.error) == ("failed", "AttributeError: no attribute 'cache_params'")
    assert (broken.components, broken.total, broken.facts.generation) == ((), None, 2)
    assert measured.status == "ok"
    assert read_results(tmp_path) == (broken, measured)
    assert not trace_path(tmp_path, broken.cell).exists()
    assert pending_jobs(jobs, tmp_path, "resume", device=CPU) == jobs[:1]


def test_a_backend_that_cannot_run_the_model_fails_its_cells_only(loaded, tmp_path):
    result = run_cell(loaded, replace(cell_of(), backend="official"), tmp_path)
    assert result.status == "failed"
    assert result.error.startswith("unknown backend 'official'")
    assert result.facts.backend["ssm"] == "torch"


def test_a_model_that_breaks_while_it_is_loaded_fails_its_cells_and_no_others(folder, tmp_path, monkeypatch):
    def load(source, **options):
        if source == "mamba-130m":
            raise TypeError("unexpected keyword")
        return load_model(source, **options)

    monkeypatch.setattr("perfmamba.profiling.grid.load_model", load)
    jobs = make_jobs(["mamba-130m", folder], **GRID | {"modes": ("prefill",)})
    results = list(run_jobs(jobs, tmp_path, device=CPU))
    assert [result.status for result in results] == ["failed"] * 2 + ["ok"] * 2
    assert results[0].error == "TypeError: unexpected keyword"


def test_the_use_of_the_cpu_is_recorded_and_older_files_have_none(loaded, tmp_path):
    cell = cell_of()
    result = run_cell(loaded, cell, tmp_path)
    assert result.unprofiled_use.cpu_s > 0
    assert result.unprofiled_use.wall_s >= sum(result.latency_ms) / 1e3
    assert result.profiled_use.threads == torch.get_num_threads()
    path = result_path(tmp_path, cell)
    fields = msgspec.json.decode(path.read_bytes())
    del fields["unprofiled_use"], fields["profiled_use"]
    path.write_bytes(msgspec.json.encode(fields))
    assert read_result(path) == replace(result, unprofiled_use=None, profiled_use=None)


def test_a_busy_cpu_is_said_in_the_notes(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr("perfmamba.profiling.runs.cautions", lambda uses, _: (f"{len(uses)} uses",))
    assert run_cell(loaded, cell_of(), tmp_path).notes[-1] == "2 uses"


@pytest.mark.parametrize("name", HYBRIDS)
def test_hybrids_decode(name, tmp_path):
    backend = {"conv": "torch", "ssm": "torch"}
    hybrid = LoadedModel("tiny", model_of(name), 2, "random (seed 0)", backend, 2, 2)
    cell = replace(cell_of(mode="decode"), warmup=0, repeat=1)
    result = run_cell(hybrid, cell, tmp_path)
    assert (result.status, result.error) == ("ok", None)
    assert next(part for part in result.components if part.component == "ssm").time_ns > 0


@pytest.mark.parametrize("name", ["cache", "cache_params", "past_key_values"])
def test_a_cache_goes_on_by_the_name_it_came_by(name):
    assert cache_argument({"logits": 1, name: 2}) == {name: 2}


def test_out_of_memory_is_a_result_and_removes_the_stale_trace(loaded, tmp_path):
    cell = replace(cell_of(), batch=1 << 40, seqlen=1 << 10)
    trace_path(tmp_path, cell).write_bytes(b"of an earlier run")
    result = run_cell(loaded, cell, tmp_path)
    assert result.status == "out_of_memory"
    assert "allocate" in result.error or "memory" in result.error
    assert (result.components, result.total, result.latency_ms) == ((), None, ())
    assert read_results(tmp_path) == (result,)
    assert not trace_path(tmp_path, cell).exists()


def test_a_trace_that_lost_a_pass_has_no_costs(loaded, tmp_path, monkeypatch):
    def record_one_less(run, path, *, device, repeat):
        record_trace(run, path, device=device, repeat=repeat - 1)

    monkeypatch.setattr("perfmamba.profiling.runs.record_trace", record_one_less)
    result = run_cell(loaded, cell_of(), tmp_path)
    assert result.status == "incomplete"
    assert "recorded 2 of 3 passes" in result.error
    assert (result.components, result.total) == ((), None)
    assert trace_path(tmp_path, cell_of()).exists()


def test_a_gpu_trace_without_kernels_or_with_lost_ones_is_incomplete(tmp_path):
    def event(category, name, start, **args):
        times = {"ts": start, "dur": 5.0}
        return {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": 1, **times, "args": args}

    def missing(*events):
        path = tmp_path / "trace.json"
        path.write_text(json.dumps({"traceEvents": [event("user_annotation", MODEL_RANGE, 0), *events]}))
        return missing_from(read_trace(path), passes=1, on_gpu=True)

    first, second = (event("cuda_runtime", "cudaLaunchKernel", i, correlation=i) for i in (1, 2))
    kernel, later_kernel = (event("kernel", "mul", 9 + i, correlation=i) for i in (1, 2))
    wait = event("cuda_runtime", "cudaDeviceSynchronize", 3, correlation=3)
    assert "no kernels" in missing(first)
    assert "lost 1 kernels" in missing(first, second, kernel)
    assert missing(first, second, kernel, later_kernel, wait) is None


def test_a_model_that_does_not_fit_fails_its_cells_and_no_others(folder, tmp_path, monkeypatch):
    def load(source, **options):
        if source == "mamba-130m":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the docs.")
        return load_model(source, **options)

    monkeypatch.setattr("perfmamba.profiling.grid.load_model", load)
    jobs = make_jobs(["mamba-130m", folder], **GRID | {"modes": ("prefill",)})
    results = list(run_jobs(jobs, tmp_path, device=CPU))
    assert [result.status for result in results] == ["out_of_memory"] * 2 + ["ok"] * 2
    assert results[0].error == "CUDA out of memory. Tried to allocate 2 GiB."
    assert len(read_results(tmp_path)) == 4


def test_a_model_is_let_go_before_the_next_is_loaded(folder, tmp_path, monkeypatch):
    alive = []

    def load(source, **options):
        assert not [model for model in alive if model() is not None]
        loaded = load_model(source, **options)
        alive.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr("perfmamba.profiling.grid.load_model", load)
    shutil.copytree(folder, tmp_path / "again")
    (tmp_path / "out").mkdir()
    jobs = make_jobs([folder, str(tmp_path / "again")], **GRID | {"modes": ("prefill",)})
    assert len(list(run_jobs(jobs, tmp_path, device=CPU))) == 4


def test_a_cell_that_raises_leaves_no_old_result_beside_a_new_trace(loaded, tmp_path, monkeypatch):
    run_cell(loaded, cell_of(), tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("perfmamba.profiling.runs.read_trace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_cell(loaded, cell_of(), tmp_path)
    assert not result_path(tmp_path, cell_of()).exists()


def test_memory_errors_without_a_text():
    assert is_out_of_memory(MemoryError())
    assert reason(MemoryError()) == "MemoryError"
    assert is_out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"))


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
        ({"seqlens": (64, 0)}, "--seqlen 0: give a number from 1"),
        ({"batch": 0}, "--batch 0"),
        ({"repeat": 0}, "--repeat 0"),
        ({"warmup": -1}, "--warmup -1"),
        ({"seed": 1 << 70}, "--seed 1180591620717411303424: give a number from 0"),
        ({"seqlens": ()}, "--seqlen: give at least one value"),
        ({"modes": ()}, "--mode: give at least one value"),
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
    running = run_jobs(pending_jobs(jobs, out, "refuse", device=CPU), out, device=CPU)
    done = [next(running), next(running)]
    running.close()
    with pytest.raises(InputError, match=r"already holds results of 2 of these 4 cells; --resume"):
        pending_jobs(jobs, out, "refuse", device=CPU)
    rest = pending_jobs(jobs, out, "resume", device=CPU)
    assert [job.cell for job in rest] == [job.cell for job in jobs[2:]]
    assert len([*done, *run_jobs(rest, out, device=CPU)]) == len(read_results(out)) == 4
    assert pending_jobs(jobs, out, "resume", device=CPU) == ()
    assert pending_jobs(jobs, out, "overwrite", device=CPU) == jobs


def test_resume_measures_again_what_was_measured_otherwise_or_broke(folder, tmp_path):
    jobs = make_jobs([folder], **GRID | {"modes": ("prefill",)})
    list(run_jobs(jobs, tmp_path, device=CPU))
    other_seed = make_jobs([folder], **GRID | {"modes": ("prefill",), "seed": 1})
    assert pending_jobs(other_seed, tmp_path, "resume", device=CPU) == other_seed
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert pending_jobs(jobs, tmp_path, "resume", device=CPU) == jobs
    torch.set_num_threads(threads)
    result_path(tmp_path, jobs[0].cell).write_text('{"cell":')
    assert pending_jobs(jobs, tmp_path, "resume", device=CPU) == jobs[:1]


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


def test_a_result_that_cannot_be_replaced_is_one_clear_error(loaded, tmp_path):
    result_path(tmp_path, cell_of()).mkdir()
    with pytest.raises(InputError, match="cannot replace"):
        run_cell(loaded, cell_of(), tmp_path)
