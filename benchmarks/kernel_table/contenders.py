"""Who computes an operation: transformers, the official packages, flash-linear-attention, and our backends.

In: a case. Out: for each contender what makes its call from the case and its arguments. Other packages'
functions are those of the registry's entries; our backends are the same for every operation.
"""

from functools import partial
from importlib.util import find_spec

import perfmamba_kernels

from benchmarks.kernel_table.operation import Arguments, Call, Case, Contender, Maker, Outputs
from benchmarks.kernel_table.registry import OPERATIONS

BASELINES = {"cpu": ("hf", "torch"), "cuda": ("mamba_ssm", "hf", "torch")}
"""What the others are compared with: the first of these that runs a case."""

_BEARABLE_TOKENS = 16384
"""On a GPU, of our torch backend, whose scans are loops in Python."""


def contenders(case: Case, device: str) -> dict[str, Maker]:
    """Who is installed and computes this operation on this device, the baselines first."""
    absent = missing_packages()
    theirs = {
        name: contender.make
        for name, contender in OPERATIONS[case.operation].contenders.items()
        if contender.package not in absent and _is_asked(contender, case, device)
    }
    tokens = case.batch * case.seqlen
    ours = ["torch"] if device == "cpu" or tokens <= _BEARABLE_TOKENS else []
    ours += ["triton"] if device == "cuda" else []
    return theirs | {backend: partial(_ours, backend) for backend in ours}


def missing_packages() -> list[str]:
    """Which packages are not installed that some contender needs."""
    needed = dict.fromkeys(
        contender.package for operation in OPERATIONS.values() for contender in operation.contenders.values()
    )
    return [package for package in needed if find_spec(package) is None]


def reference(case: Case, arguments: Arguments) -> Outputs:
    """The sequential recurrence in float64, on the same numbers."""
    return _ours("reference", case, {name: value.double() for name, value in arguments.items()})()


def _is_asked(contender: Contender, case: Case, device: str) -> bool:
    return contender.on_cpu if device == "cpu" else contender.is_bearable(case)


def _ours(backend: str, case: Case, arguments: Arguments) -> Call:
    entry = OPERATIONS[case.operation]
    operation = getattr(perfmamba_kernels, case.operation)
    options = {**entry.options, "backend": backend}
    if not entry.updates:
        return lambda: operation(**arguments, **options)
    state = arguments[entry.updates]
    return lambda: (operation(**arguments, **options), state)
