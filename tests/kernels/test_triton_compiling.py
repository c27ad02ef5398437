"""What the kernels compile to for A100 and H100, without a GPU."""

import json

import pytest
import torch
from perfmamba_kernels.triton_backend.compiling import Compiled
from perfmamba_kernels.triton_backend.launching import Launch, launches

MODULES = ["conv", "selective_scan", "state_update"]

# The cases that a condition holds for, compiled; Triton's cache makes all but the first run short.
COMPILE = """
import json
from dataclasses import asdict
from perfmamba_kernels.triton_backend.compile_table import all_cases
from perfmamba_kernels.triton_backend.compiling import compiled

for case in all_cases({module!r}):
    if {condition}:
        for capability in case.capabilities:
            result = compiled(case, capability)
            fits = result.fits(capability)
            print(json.dumps(asdict(result) | {{"name": case.name, "on": capability, "fits": fits}}))
"""

TOY = """
import torch, triton, triton.language as tl
from perfmamba_kernels.triton_backend.compiling import CompileCase, compiled
from perfmamba_kernels.triton_backend.launching import Launch

@triton.jit(do_not_specialize=["length"])
def kernel(x, y, bias, stride, odd, one, length, scale, N: tl.constexpr):
    i, j = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    block = tl.load(x + i * stride + j, mask=i < length, other=0.0)
    tl.store(y + i * stride + j, tl.dot(block, block) * scale)

x, y = (torch.empty(64, 64, dtype=t, device="meta") for t in (torch.bfloat16, torch.float32))
launch = Launch(kernel, (1,), (x, y[:, 1:], None, 64, 7, 1, 16, 0.5), {"N": 64}, num_warps=4, num_stages=1)
case = CompileCase.of("toy", 3, launch)
print(case.signature)
print(case.constants)
print(sorted(case.divisible_by_16))
for capability in (80, 90):
    print(compiled(case, capability))
"""


@pytest.fixture(autouse=True)
def _source_is_on_disk(tmp_path, monkeypatch):
    """Triton reads a kernel's source from a file."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "toy.py").write_text(TOY)


def test_a_case_is_what_the_jit_would_make_of_a_launch(uninterpreted):
    signature, constants, divisible, *_ = uninterpreted("import toy").splitlines()
    assert signature == str(
        {
            "x": "*bf16",
            "y": "*fp32",
            "bias": "constexpr",
            "stride": "i32",
            "odd": "i32",
            "one": "constexpr",
            "length": "i32",
            "scale": "fp32",
            "N": "constexpr",
        }
    )
    assert constants == str({"bias": None, "one": 1, "N": 64})
    assert divisible == str(["stride", "x"])  # y begins 4 bytes into its memory


def test_matrix_instructions_are_counted(uninterpreted):
    *_, a100, h100 = uninterpreted("import toy").splitlines()
    # 64 x 64 x 64 by 4 warps: mma.sync of 16 x 8 x 16 and wgmma of 64 x 64 x 16
    assert "matrix_instructions=32" in a100
    assert "matrix_instructions=4" in h100
    assert "spilled_bytes=0" in a100


def test_a_spill_or_too_much_shared_memory_does_not_fit():
    assert Compiled(255, 0, 166_912, 1).fits(80)
    assert not Compiled(255, 8, 0, 1).fits(80)
    assert not Compiled(32, 0, 166_913, 1).fits(80)
    assert Compiled(32, 0, 166_913, 1).fits(90)


def test_an_operation_is_planned_without_being_run():
    ran = []

    def operation(x: torch.Tensor) -> None:
        Launch(ran, (1,), (x,), {}, num_warps=4, num_stages=1).run()
        Launch(ran, (2,), (x,), {}, num_warps=4, num_stages=1).run()

    planned = launches(operation, torch.empty(1, device="meta"))
    assert [launch.grid for launch in planned] == [(1,), (2,)]
    assert not ran


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_what_models_use_fits(module, uninterpreted):
    """The kernels for bfloat16 and 38 or 128 states: the rest is for the table and for `gpu`."""
    condition = "case.state_size in (38, 128) and 'bfloat16' in case.name"
    _all_fit(uninterpreted(COMPILE.format(module=module, condition=condition)))


@pytest.mark.gpu
@pytest.mark.parametrize("module", [*MODULES, "ssd"])
def test_all_fit(module, uninterpreted):
    _all_fit(uninterpreted(COMPILE.format(module=module, condition="True")))


def test_the_table_wants_a_module_and_a_compiler(python):
    code = "import sys; from perfmamba_kernels.compile_table import main; sys.exit(main({}))"
    with pytest.raises(AssertionError, match=r"No kernels in nothing\."):
        python(code.format("'conv', 'nothing'"))
    with pytest.raises(AssertionError, match="TRITON_INTERPRET is set"):
        python(code.format("'conv'"), TRITON_INTERPRET="1")


def _all_fit(printed):
    results = [json.loads(line) for line in printed.splitlines()]
    assert results
    assert [result for result in results if not result["fits"]] == []
