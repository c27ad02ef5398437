"""Mamba-2's scan in Triton: one kernel that walks over the sequences, or two where there are too few of them.

In and out: as `reference.ssd`, of checked tensors with any strides. The kernels are in `ssd_kernels`; here
is what to launch.
"""

import math
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import product
from math import gcd
from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn.functional import pad

from perfmamba_kernels.elementwise import NO_LIMIT
from perfmamba_kernels.triton_backend.compiling import STATE_SIZES, Capability, CompileCase
from perfmamba_kernels.triton_backend.launching import Launch, interpreted, launches, strides
from perfmamba_kernels.triton_backend.ssd_kernels import scan_kernel, segment_states_kernel

VECTOR_BYTES = 16
"""The widest access of a thread."""

UNCUT = 2**30
"""A segment that no sequence fills."""

MOST_SEGMENTS = 32
"""A program folds the states of all segments before its own, so their number costs its square."""


def ssd(
    x: Tensor,  # (b, l, h, p)
    dt: Tensor,  # (b, l, h)
    A: Tensor,  # (h,)
    B: Tensor,  # (b, l, g, n)
    C: Tensor,  # (b, l, g, n)
    D: Tensor | None = None,  # (h,)
    z: Tensor | None = None,  # (b, l, h, p)
    dt_bias: Tensor | None = None,  # (h,)
    *,
    initial_states: Tensor | None = None,  # (b, h, p, n), zeros by default
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    cu_seqlens: Tensor | None = None,  # (s + 1,)
) -> tuple[Tensor, Tensor]:
    """`reference.ssd` in chunks, the state kept in registers from one to the next.

    Source: Mamba-2 paper (arXiv 2405.21060), section 6.

    Returns:
        y (b, l, h, p) and the state after the last position (b, h, p, n) in float32.
    """
    groups, states = B.shape[2:]
    x, B, C = _rows_together(x), _padded(_rows_together(B)), _padded(_rows_together(C))
    z = None if z is None else _rows_together(z)
    A = A.contiguous()
    D, dt_bias, initial_states = (
        None if tensor is None else tensor.contiguous() for tensor in (D, dt_bias, initial_states)
    )
    batch, length, heads, head_dim = x.shape
    sequences = batch if cu_seqlens is None else len(cu_seqlens) - 1
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    final = torch.empty((sequences, heads, head_dim, states), dtype=torch.float32, device=x.device)

    scan, states_of_segments = blocks(head_dim, states, x.itemsize, hopper=device(x.device).hopper)
    programs = triton.cdiv(head_dim, scan.channels) * heads * sequences
    segment = _segment(programs, batch * length / max(sequences, 1), scan, device(x.device))
    segments = max(1, triton.cdiv(length, segment))

    left_states = left_decays = None
    if segments > 1:
        slots = batch * length // segment + sequences
        left_states = final.new_empty((slots, heads, head_dim, states))
        left_decays = final.new_empty((slots, heads))
    arguments = (
        *(x, dt, A, B, dt_bias, cu_seqlens, left_states, left_decays),
        *(length, segment, *dt_limit),
        *(x.stride(0), x.stride(2), *dt.stride(), B.stride(0), B.stride(2)),
    )
    constants = {
        "x_l": x.stride(1),
        "B_l": B.stride(1),
        "B_N": B.shape[3],
        "X_BYTES": vector_bytes(x),
        "B_BYTES": vector_bytes(B),
        "H": heads,
        "G": groups,
        "P": head_dim,
        "N": states,
        "USE_SOFTPLUS": dt_softplus,
        "WIDEN": x.dtype == torch.bfloat16 and interpreted(),
        "PRECISION": "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32",
    }
    if segments > 1:
        grid = (triton.cdiv(head_dim, states_of_segments.channels) * heads * sequences, segments - 1)
        _launch(segment_states_kernel, grid, arguments, constants, states_of_segments)
    z_b, z_l, z_h, _ = strides(z, 4)
    arguments += (C, D, z, initial_states, y, final, C.stride(0), C.stride(2), z_b, z_h)
    constants |= {
        "C_l": C.stride(1),
        "C_N": C.shape[3],
        "z_l": z_l,
        "C_BYTES": vector_bytes(C),
        "Z_BYTES": vector_bytes(z),
    }
    _launch(scan_kernel, (programs, segments), arguments, constants, scan)
    return y, final


@dataclass(frozen=True)
class LaunchTarget:
    """The properties of a GPU that decide how a scan is launched."""

    multiprocessors: int
    hopper: bool


@dataclass(frozen=True)
class Blocks:
    """What a program takes at a time, and the warps and stages that it is compiled for."""

    positions: int
    channels: int
    states: int  # at most, in one matrix product
    num_warps: int
    num_stages: int

    @property
    def constants(self) -> dict[str, int]:
        """The kernels' parameters."""
        return {"Q": self.positions, "BLOCK_P": self.channels, "WIDEST": self.states}

    def programs_at_once(self, device: LaunchTarget) -> int:
        """What the device runs at a time: 8 warps with 255 registers a thread fill a multiprocessor."""
        return device.multiprocessors * 8 // self.num_warps


def blocks(head_dim: int, states: int, itemsize: int, *, hopper: bool) -> tuple[Blocks, Blocks]:
    """The blocks of the scan and of the segments' states: the fewest instructions with nothing to spill.

    Hopper's matrix instructions read B, C and the state from shared memory, 64 rows at a time: wide products
    cost no registers, and fewer of them fewer waits. An A100's read registers. Two programs share a
    multiprocessor, so a third stage of loads is taken where it leaves each half of the shared memory.
    """
    channels = max(16, triton.next_power_of_2(head_dim))
    narrow, wide = min(channels, 32), min(channels, 64)
    if itemsize == 4:  # three instructions and twice the registers a product
        return Blocks(16, narrow, 32, num_warps=8, num_stages=2), Blocks(16, narrow, 32, 8, 1)
    if hopper:
        scan = Blocks(64, wide, 64, num_warps=4 if states <= 128 else 8, num_stages=3 if states <= 96 else 2)
        return scan, scan
    if states <= 128:
        scan = Blocks(64, wide, 16, num_warps=4, num_stages=3)
        return scan, scan
    return Blocks(32, narrow, 16, num_warps=8, num_stages=2), Blocks(16, wide, 32, num_warps=4, num_stages=2)


def _segment(programs: int, mean_length: float, scan: Blocks, device: LaunchTarget) -> int:
    """The positions of a segment; where the sequences are better not cut, more than any has.

    Packed sequences may have any lengths, which only the device knows: the mean decides.
    """
    chunks = math.ceil(mean_length / scan.positions)
    best = chunks_a_segment(programs, chunks, scan.programs_at_once(device))
    return best * scan.positions if best < chunks else UNCUT


@lru_cache
def chunks_a_segment(programs: int, chunks: int, at_once: int) -> int:
    """How long the segments are that a sequence is best cut into.

    Args:
        programs: how many there are if it is not cut.
        chunks: in the sequence.
        at_once: programs that the device runs at a time.
    """
    counts = range(1, min(chunks, MOST_SEGMENTS) + 1)
    best = min(counts, key=lambda count: _cost(programs, chunks, at_once, count), default=1)
    return max(1, -(-chunks // best))


def _cost(programs: int, chunks: int, at_once: int, segments: int) -> float:
    """The time, in that of a chunk's scan.

    A chunk takes a third of that for a segment's own state, folding a segment a quarter, a second launch two.
    """
    rounds, length = -(-programs * segments // at_once), -(-chunks // segments)
    return rounds * length if segments == 1 else rounds * (length * 4 / 3 + segments / 4) + 2


A100, H100 = LaunchTarget(multiprocessors=108, hopper=False), LaunchTarget(multiprocessors=132, hopper=True)
_planned_for: ContextVar[LaunchTarget] = ContextVar("planned_for", default=A100)


def device(where: torch.device) -> LaunchTarget:
    """The GPU's properties; without one, those of the GPU that is planned for."""
    return _properties(where) if where.type == "cuda" else _planned_for.get()


@cache
def _properties(where: torch.device) -> LaunchTarget:
    properties = torch.cuda.get_device_properties(where)
    return LaunchTarget(properties.multi_processor_count, hopper=properties.major >= 9)


def vector_bytes(tensor: Tensor | None) -> int:
    """The widest access that every row of a tensor is aligned to, up to 16 bytes."""
    if tensor is None:
        return VECTOR_BYTES
    steps = (stride * tensor.itemsize for stride in tensor.stride()[:-1])
    return gcd(VECTOR_BYTES, tensor.data_ptr(), *steps)


def _launch(
    kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any], blocks: Blocks
) -> None:
    constants = constants | blocks.constants
    Launch(kernel, grid, arguments, constants, blocks.num_warps, blocks.num_stages).run()


def _rows_together(tensor: Tensor) -> Tensor:
    """The tensor, copied if its last axis is not contiguous; the kernels take nothing else for rows."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _padded(tensor: Tensor) -> Tensor:
    """The tensor, copied with zeros at the end of its rows if these cannot be copied 4 bytes at a time.

    Less than that a GPU does not copy to shared memory by itself. B and C are small beside x.
    """
    odd = tensor.shape[-1] * tensor.itemsize % 4 or vector_bytes(tensor) < 4
    return pad(tensor, (0, -tensor.shape[-1] % (VECTOR_BYTES // tensor.itemsize))) if odd else tensor


def compile_cases() -> Iterator[CompileCase]:
    """A layer of mamba2-130m, cut into segments: as it is, in float32, and with all that a scan can have."""
    dtypes = torch.bfloat16, torch.float32
    gpus: tuple[tuple[Capability, LaunchTarget], ...] = ((80, A100), (90, H100))
    for states, dtype, everything in product(STATE_SIZES, dtypes, (False, True)):
        label = f"{dtype}{', everything' if everything else ''}".replace("torch.", "")
        for capability, gpu in gpus:
            for launch in _planned_on(gpu, _layer(states, dtype, everything=everything)):
                name = f"ssd {launch.kernel.__name__} {label}"
                yield CompileCase.of(name, states, launch, (capability,))


def _planned_on(gpu: LaunchTarget, arguments: dict[str, Tensor]) -> list[Launch]:
    """What a GPU would be given to do."""
    token = _planned_for.set(gpu)
    try:
        return launches(ssd, **arguments, dt_softplus=True)
    finally:
        _planned_for.reset(token)


def _layer(states: int, dtype: torch.dtype, *, everything: bool) -> dict[str, Tensor]:
    """The arguments that a layer of mamba2-130m has: views of the rows of its projections."""
    empty = partial(torch.empty, device="meta")
    convolved = empty(1, 2048, 1536 + 2 * states, dtype=dtype)
    projected = empty(1, 2048, 2 * 1536 + 2 * states + 24, dtype=dtype)
    arguments = {
        "x": convolved[..., :1536].view(1, 2048, 24, 64),
        "dt": projected[..., -24:],
        "A": empty(24),
        "B": convolved[:, :, None, 1536:-states],
        "C": convolved[:, :, None, -states:],
        "D": empty(24),
        "dt_bias": empty(24),
    }
    if everything:
        arguments |= {
            "z": projected[..., :1536].view(1, 2048, 24, 64),
            "initial_states": empty(3, 24, 64, states),
            "cu_seqlens": empty(4, dtype=torch.int32),
        }
    return arguments
