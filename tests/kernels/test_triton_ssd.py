"""Mamba-2's scan in Triton against the reference in float64, cut into segments and not."""

import importlib
import importlib.util
import subprocess
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perfmamba_kernels import reference

from tests.kernels.inputs import cut_ssd, normal, ssd_inputs

pytest.importorskip("triton", reason="needs Triton")
triton_ssd = importlib.import_module("perfmamba_kernels.triton_backend.ssd")
launching = importlib.import_module("perfmamba_kernels.triton_backend.launching")

STATES = [1, 2, 7, 12, 13, 16, 38, 64, 89, 115, 128, 256]
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4 * 2**-11, torch.bfloat16: 4 * 2**-8}
"""Of the largest value. In float32 a product keeps some 21 bits of its operands (tf32x3). The narrow dtypes
round four times on the way to y: the weights of the inputs, the state, what an input adds to it, and y."""

pytestmark = pytest.mark.usefixtures("poisoned")

inputs = partial(ssd_inputs, batch=1, heads=2, head_dim=5)
initial = partial(normal, seed=8)


def close(actual, expected, dtype=torch.float32):
    """Output and final state are those expected, to the tolerance of a dtype."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        if one.numel():
            scale = max(1.0, other.abs().max().item())
            assert (one.double().cpu() - other).abs().max().item() <= TOLERANCE[dtype] * scale


def doubled(arguments):
    return {k: v.double() if getattr(v, "is_floating_point", bool)() else v for k, v in arguments.items()}


@pytest.fixture
def check(device):
    """Hold the scan of some arguments against the reference."""

    def run(arguments, **options):
        moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
        actual = triton_ssd.ssd(**moved, **options)
        assert actual[0].dtype == arguments["x"].dtype
        assert actual[1].dtype == torch.float32
        close(actual, reference.ssd(**doubled(arguments), **options), arguments["x"].dtype)

    return run


@pytest.fixture(params=[1, 1000], ids=["whole", "cut"])
def cut(request, monkeypatch):
    """Whether sequences are cut: on a GPU of one multiprocessor they never are, on one of 1000 always."""
    properties = triton_ssd.LaunchTarget(multiprocessors=request.param, hopper=False)
    monkeypatch.setattr(triton_ssd, "device", lambda _: properties)
    return request.param > 1


@pytest.mark.parametrize("states", STATES)
def test_state_sizes(check, states):
    check(inputs(states, 70, dtype=torch.float16), dt_softplus=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("states", [1, 13, 89])
def test_dtypes(check, states, dtype):
    check(inputs(states, 40, dtype=dtype), dt_softplus=True)


@pytest.mark.parametrize("hopper", [False, True])
@pytest.mark.parametrize("states", [89, 256])
def test_every_configuration_of_a_gpu(check, monkeypatch, states, hopper):
    monkeypatch.setattr(triton_ssd, "device", lambda _: triton_ssd.LaunchTarget(1, hopper=hopper))
    check(inputs(states, 70, dtype=torch.float16, heads=1), dt_softplus=True)


@pytest.mark.parametrize("length", [0, 1, 2, 31, 64, 100, 257])
def test_lengths(check, cut, length):
    arguments = inputs(12, length, dtype=torch.float16, heads=1)
    check(arguments | {"initial_states": initial(1, 1, 5, 12)}, dt_softplus=True)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups(check, groups):
    check(inputs(7, 20, groups, torch.float16, batch=2, heads=6), dt_softplus=True)


@pytest.mark.parametrize("head_dim", [1, 16, 20, 100])
def test_head_dims(check, head_dim):
    check(inputs(7, 20, dtype=torch.float16, head_dim=head_dim), dt_softplus=True)


@pytest.mark.parametrize("absent", ["D", "z", "dt_bias"])
def test_what_may_be_absent(check, absent):
    check(inputs(7, 20, dtype=torch.float16) | {absent: None}, dt_softplus=True)


def test_small_and_large_steps_keep_their_digits(check):
    arguments = inputs(7, 40, dtype=torch.float32)
    arguments["dt"] = torch.linspace(-16, 24, 80).view(1, 40, 2)
    check(arguments | {"dt_bias": None}, dt_softplus=True)


def test_limits(check):
    check(inputs(7, 70, dtype=torch.float16), dt_softplus=True, dt_limit=(0.1, 0.5))


def test_negative_steps(check, cut):
    arguments = inputs(7, 100, dtype=torch.float32, heads=1)
    arguments["dt"] = arguments["dt"].clamp(-0.05, 0.2)
    check(arguments | {"dt_bias": None}, dt_limit=(-torch.inf, torch.inf))


def test_steps_that_forget_everything(check, cut):
    arguments = inputs(7, 100, dtype=torch.float32, heads=1)
    check(arguments | {"dt": arguments["dt"] + 500}, dt_softplus=True)


def slices_of_rows(*shapes, dtype, length):
    """Views of the columns of one matrix (l, c), as a projection gives them, starting at an odd column."""
    whole = normal(length, 1 + sum(h * n for h, n in shapes), seed=4).to(dtype)
    parts = whole[:, 1:].split([h * n for h, n in shapes], dim=1)
    return [part.view(1, length, *shape) for part, shape in zip(parts, shapes, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("states", [4, 7, 38])
def test_slices_of_a_projection(check, states, dtype):
    shapes = (2, 5), (2, 5), (1, states), (1, states)
    z, x, b, c = slices_of_rows(*shapes, dtype=dtype, length=70)
    check(inputs(states, 70, dtype=dtype) | {"x": x, "z": z, "B": b, "C": c}, dt_softplus=True)


def test_any_strides(check):
    arguments = inputs(7, 40, 2, torch.float16, batch=2)
    for name, value in arguments.items():
        every_other = torch.zeros(*(2 * size for size in reversed(value.shape)), dtype=value.dtype)
        view = every_other[(slice(None, None, 2),) * value.dim()].permute(*reversed(range(value.dim())))
        arguments[name] = view.copy_(value)
    arguments["initial_states"] = initial(5, 2, 7, 2).permute(3, 1, 0, 2)
    check(arguments, dt_softplus=True)


def test_an_initial_state_is_left_as_it_was(device):
    first = initial(1, 2, 5, 7).float().to(device)
    kept = first.clone()
    moved = {name: value.to(device) for name, value in inputs(7, 20, dtype=torch.float16).items()}
    triton_ssd.ssd(**moved, initial_states=first)
    assert torch.equal(first, kept)


@settings(max_examples=8, deadline=None)
@given(length=st.integers(2, 150), data=st.data())
def test_a_sequence_split_anywhere_is_the_sequence(length, data):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    middle = data.draw(st.integers(1, length - 1))
    arguments = inputs(7, length, dtype=torch.float32, heads=1)
    moved = {name: value.to(device) for name, value in arguments.items()}
    head, carried = triton_ssd.ssd(**cut_ssd(moved, positions=slice(None, middle)))
    tail, end = triton_ssd.ssd(**cut_ssd(moved, positions=slice(middle, None)), initial_states=carried)
    close((torch.cat([head, tail], dim=1), end), reference.ssd(**doubled(arguments)))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("ends", [[0, 200], [0, 5, 5, 130, 200], [0, 0, 200, 200], [0, 64, 128, 192, 200]])
def test_packed_sequences(check, cut, ends, dtype):
    arguments = inputs(7, 200, dtype=torch.float16, heads=1)
    packed = torch.tensor(ends, dtype=dtype)
    check(
        arguments | {"initial_states": initial(len(ends) - 1, 1, 5, 7)}, dt_softplus=True, cu_seqlens=packed
    )
    check(arguments, dt_softplus=True, cu_seqlens=packed)


def test_a_batch_is_cut_as_its_sequences_are(check, cut):
    check(inputs(7, 150, dtype=torch.float16, batch=3, heads=2, groups=2), dt_softplus=True)


def test_few_programs_make_two_launches_and_many_one(cut):
    arguments = inputs(7, 257, dtype=torch.float16)
    names = [launch.kernel.__name__ for launch in launching.launches(triton_ssd.ssd, **arguments)]
    assert names == ["segment_states_kernel"] * cut + ["scan_kernel"]


@given(
    programs=st.integers(0, 10_000),
    chunks=st.integers(0, 10_000),
    at_once=st.integers(1, 300),
)
def test_segments_cover_a_sequence_and_are_no_more_than_can_be_folded(programs, chunks, at_once):
    length = triton_ssd.chunks_a_segment(programs, chunks, at_once)
    assert length >= 1
    assert chunks / length <= triton_ssd.MOST_SEGMENTS


@pytest.mark.parametrize(
    ("programs", "chunks", "whole"), [(192, 32, True), (24, 32, False), (24, 1, True), (2400, 256, True)]
)
def test_sequences_are_cut_where_programs_are_few(programs, chunks, whole):
    assert (triton_ssd.chunks_a_segment(programs, chunks, at_once=216) == chunks) == whole


@pytest.mark.parametrize(
    ("columns", "first", "expected"),
    [(64, 0, 16), (64, 8, 16), (64, 4, 8), (12, 0, 8), (38, 0, 4), (89, 0, 2)],
)
def test_vectors_are_as_wide_as_every_row_is_aligned(columns, first, expected):
    whole = torch.empty(10, first + columns, dtype=torch.float16, device="meta")
    assert triton_ssd.vector_bytes(torch.empty(10, columns, dtype=torch.float16, device="meta")) == min(
        16, columns * 2 & -columns * 2
    )
    assert triton_ssd.vector_bytes(whole[:, first:]) == min(
        expected, (2 * (first + columns)) & -(2 * (first + columns))
    )


COMPILED = """
from perfmamba_kernels.triton_backend.compile_table import all_cases
from perfmamba_kernels.triton_backend.compiling import compiled
for case in all_cases("ssd"):
    if case.name.endswith("bfloat16") and case.state_size in (16, 128) and {capability} in case.capabilities:
        result = compiled(case, {capability})
        print(case.name.split()[1], int(result.fits({capability})), result.matrix_instructions)
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_compiled_kernels_fit_and_their_matrix_products_fall_with_the_states(uninterpreted, capability):
    printed = [line.split() for line in uninterpreted(COMPILED.format(capability=capability)).splitlines()]
    assert all(fits == "1" for _, fits, _ in printed)
    small, large = ([int(number) for _, _, number in half] for half in (printed[:2], printed[2:]))
    assert len(small) == len(large) == 2
    assert all(0 < few < many for few, many in zip(small, large, strict=True))


ORACLE = """
import contextlib, os, sys, types
import torch
on_gpu = torch.cuda.is_available()
if not on_gpu:
    os.environ |= {"TRITON_INTERPRET": "1", "MAMBA_DETERMINISTIC": "1"}  # one configuration: nothing to tune
    sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")
    torch.cuda.device = lambda _: contextlib.nullcontext()
from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
from perfmamba_kernels.triton_backend import ssd
from tests.kernels.inputs import normal, ssd_inputs
device = "cuda" if on_gpu else "cpu"
for states in (13, 16):
    made = ssd_inputs(states, 128, 1, torch.float32, batch=1, heads=2, head_dim=16)
    a = {name: value.to(device) for name, value in made.items()}
    first = normal(1, 2, 16, states, seed=8).float().to(device)
    options = {"initial_states": first, "dt_softplus": True, "dt_limit": (0.01, 2.0)}
    theirs = mamba_chunk_scan_combined(
        a["x"], a["dt"], a["A"], a["B"], a["C"], 64, D=a["D"], z=a["z"], dt_bias=a["dt_bias"],
        return_final_states=True, **options,
    )
    for one, other in zip(ssd(**a, **options), theirs, strict=True):
        print(((one - other).abs().max() / other.abs().max()).item())
"""


@pytest.mark.skipif(importlib.util.find_spec("mamba_ssm") is None, reason="mamba_ssm is not installed")
def test_the_official_kernels_agree():
    ended = subprocess.run([sys.executable, "-c", ORACLE], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    errors = [float(line) for line in ended.stdout.split()]
    # theirs multiplies in TF32 on a GPU, which keeps 11 bits
    bound = 2**-8 if torch.cuda.is_available() else TOLERANCE[torch.float32]
    assert len(errors) == 4
    assert max(errors) <= bound


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize(("batch", "length"), [(1, 1000), (8, 300)])
def test_a_layer_of_mamba2(check, batch, length, states, dtype):
    arguments = ssd_inputs(states, length, dtype=dtype, batch=batch, heads=24, head_dim=64)
    check(arguments | {"initial_states": initial(batch, 24, 64, states)}, dt_softplus=True)
