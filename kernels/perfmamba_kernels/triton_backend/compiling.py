"""What a kernel compiles to for a GPU that need not be there: registers, spills, shared memory.

In: a launch, planned but not run. Out: what its kernel needs of the GPU. Compiled code is kept in Triton's
own cache, so that the second time takes a moment.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from perfmamba_kernels.triton_backend.launching import Launch, compile_options

Capability = Literal[80, 90]
CAPABILITIES: tuple[Capability, ...] = (80, 90)

STATE_SIZES = (1, 16, 38, 64, 89, 128, 256)

# The most that a block may have on an A100 and on an H100 (CUDA C++ Programming Guide, compute capabilities)
SHARED_BYTES_LIMIT = {80: 163 * 1024, 90: 227 * 1024}

_TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int64: "i64",
    torch.int32: "i32",
}


@dataclass(frozen=True)
class CompileCase:
    """One specialisation of a kernel, as Triton's JIT would compile it at a launch."""

    name: str
    state_size: int
    kernel: JITFunction
    signature: dict[str, str]  # every parameter's type: "*bf16", "i32", "constexpr", ...
    constants: dict[str, Any]  # the values of those that are "constexpr"
    divisible_by_16: frozenset[str]  # pointers and integers known to be multiples of 16
    num_warps: int
    num_stages: int
    capabilities: tuple[Capability, ...] = CAPABILITIES  # of the GPUs on which it is launched like this

    @classmethod
    def of(
        cls,
        name: str,
        state_size: int,
        launch: Launch,
        capabilities: tuple[Capability, ...] = CAPABILITIES,
    ) -> "CompileCase":
        """The specialisation that a launch asks for; its tensors may be on the device "meta"."""
        parameters = launch.kernel.params
        values = dict(zip((parameter.name for parameter in parameters), launch.arguments, strict=False))
        values |= launch.constants
        kinds = {parameter.name: _specialised(values[parameter.name], parameter) for parameter in parameters}
        return cls(
            name,
            state_size,
            launch.kernel,
            {name: kind for name, (kind, _) in kinds.items()},
            {name: values[name] for name, (kind, _) in kinds.items() if kind == "constexpr"},
            frozenset(name for name, (_, divisible) in kinds.items() if divisible),
            launch.num_warps,
            launch.num_stages,
            capabilities,
        )


@dataclass(frozen=True)
class Compiled:
    """What a kernel takes of a GPU."""

    registers: int  # a thread
    spilled_bytes: int  # a thread: its stack, which our kernels have no other use for
    shared_bytes: int  # a block
    matrix_instructions: int  # mma.sync and wgmma.mma_async in the PTX, counted once however often they run

    def fits(self, capability: Capability) -> bool:
        """Whether nothing spills and a block's shared memory is within the device's limit."""
        return self.spilled_bytes == 0 and self.shared_bytes <= SHARED_BYTES_LIMIT[capability]


def compiled(case: CompileCase, capability: Capability) -> Compiled:
    """Compile for sm_80 (A100) or sm_90 (H100), with no GPU, and read what the code needs."""
    position = {name: index for index, name in enumerate(case.signature)}
    source = ASTSource(
        case.kernel,
        case.signature,
        constexprs=case.constants,
        attrs={(position[name],): [["tt.divisibility", 16]] for name in case.divisible_by_16},
    )
    options = compile_options(case.num_warps, case.num_stages)
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    registers, stack = _registers_and_stack(kernel.asm["cubin"])
    instructions = re.findall(r"\b(?:mma\.sync|wgmma\.mma_async)\b", kernel.asm["ptx"])
    return Compiled(registers, stack, kernel.metadata.shared, len(instructions))


def _specialised(value: Any, parameter: Any) -> tuple[str, bool]:
    """The type that the JIT gives an argument, and whether it takes it for a multiple of 16."""
    fixed = parameter.do_not_specialize
    if parameter.is_constexpr:
        return "constexpr", False
    match value:
        case Tensor():
            return f"*{_TYPES[value.dtype]}", value.storage_offset() * value.itemsize % 16 == 0
        case None:
            return "constexpr", False
        case 1 if not fixed:
            return "constexpr", False
        case int():
            return "i32" if -(2**31) <= value < 2**31 else "i64", value % 16 == 0 and not fixed
        case float():
            return "fp32", False
    message = f"{parameter.name}: a kernel takes no {type(value).__name__}"
    raise TypeError(message)


def _registers_and_stack(cubin: bytes) -> tuple[int, int]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        tool = triton.knobs.nvidia.cuobjdump.path
        usage = subprocess.run([tool, "-res-usage", path], check=True, capture_output=True, text=True).stdout  # noqa: S603 -- Triton's own tool on our own file
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    if found is None:
        message = f"cuobjdump printed no resource usage: {usage!r}"
        raise RuntimeError(message)
    return int(found[1]), int(found[2])
