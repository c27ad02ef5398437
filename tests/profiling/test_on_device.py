import pytest
import torch

from perfmamba.models import LoadedModel, annotate, load_model
from perfmamba.profiling.recording import latencies_ms
from perfmamba.profiling.results import ProfileCell
from perfmamba.profiling.runs import run_cell

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.fixture(params=["mamba-130m", "mamba2-130m"])
def loaded(request) -> LoadedModel:
    return load_model(request.param, layers=2, device="cuda", dtype=torch.bfloat16)


def test_annotation_changes_nothing(loaded):
    tokens = torch.randint(50_000, (2, 300), device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    with torch.inference_mode():
        plain = loaded.model(tokens).logits
        with annotate(loaded.model):
            annotated = loaded.model(tokens).logits
    assert torch.equal(plain, annotated)


@pytest.mark.parametrize("mode", ["prefill", "decode"])
def test_every_kernel_is_attributed(loaded, mode, tmp_path):
    cell = ProfileCell(loaded.name, mode, 300, 2, "bfloat16", "cuda", 2, 2, 3, 0)
    result = run_cell(loaded, cell, tmp_path)
    costs = {cost.component: cost for cost in result.components}
    assert costs["unattributed"].launches == 0
    assert all(costs[component].time_ns > 0 for component in ("norm", "in_proj", "conv", "ssm", "out_proj"))
    assert sum(cost.time_ns for cost in result.components) == pytest.approx(result.total.time_ns)
    assert result.total.peak_bytes > sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    assert result.environment.device == torch.cuda.get_device_name()


def test_out_of_memory_is_a_result(loaded, tmp_path):
    cell = ProfileCell(loaded.name, "prefill", 4096, 1 << 14, "bfloat16", "cuda", 2, 0, 1, 0)
    assert run_cell(loaded, cell, tmp_path).status == "out_of_memory"


def test_latencies_are_those_of_the_device():
    matrix = torch.ones(4096, 4096, device="cuda")
    samples = latencies_ms(lambda: matrix @ matrix, device=torch.device("cuda"), repeat=5)
    assert len(samples) == 5
    # 137 GFLOP take longer than a launch on any device
    assert all(sample > 0.05 for sample in samples)
