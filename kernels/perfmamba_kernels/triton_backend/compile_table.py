"""A table of all kernels in every configuration they can have, compiled for A100 and H100 without a GPU.

`perfmamba_kernels.compile_table` is its command. It must run without TRITON_INTERPRET, which leaves nothing
to compile.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator

from perfmamba_kernels import triton_backend
from perfmamba_kernels.triton_backend.compiling import CompileCase, compiled
from perfmamba_kernels.triton_backend.launching import interpreted


def all_cases(*modules: str) -> Iterator[CompileCase]:
    """The cases of the modules of this package that have `compile_cases`, or of those named."""
    for module in pkgutil.iter_modules(triton_backend.__path__):
        if modules and module.name not in modules:
            continue
        loaded = importlib.import_module(f"{triton_backend.__name__}.{module.name}")
        yield from getattr(loaded, "compile_cases", tuple)()


def main(*modules: str) -> int:
    """Print a line for each case and GPU; return 1 if any does not fit, 2 if none can be compiled, else 0."""
    if interpreted():
        print("Kernels are interpreted while TRITON_INTERPRET is set; unset it.", file=sys.stderr)
        return 2
    if empty := [module for module in modules if not any(all_cases(module))]:
        print(f"No kernels in {', '.join(empty)}.", file=sys.stderr)
        return 2
    cases = list(all_cases(*modules))
    width = max(len(case.name) for case in cases)
    print(f"{'kernel':{width}}    N    GPU  warps  stages  registers  spilled B  shared B  matrix instr.")
    misfits = 0
    for number, case in enumerate(cases, start=1):
        for capability in case.capabilities:
            print(f"{number}/{len(cases)}", end="\r", file=sys.stderr, flush=True)
            result = compiled(case, capability)
            misfits += not result.fits(capability)
            print(
                f"{case.name:{width}}  {case.state_size:3}  sm_{capability}  {case.num_warps:5}"
                f"  {case.num_stages:6}  {result.registers:9}  {result.spilled_bytes:9}"
                f"  {result.shared_bytes:8}  {result.matrix_instructions:14}"
                f"{'' if result.fits(capability) else '  DOES NOT FIT'}",
                flush=True,
            )
    compiled_cases = sum(len(case.capabilities) for case in cases)
    print(f"{compiled_cases} kernels compiled, {misfits} do not fit")
    return int(misfits > 0)
