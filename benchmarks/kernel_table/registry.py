"""The operations that are measured: one entry for each.

The table (`python -m benchmarks.kernel_table`) and the asv suite (`benchmarks/kernels.py`) take all that they
know of an operation from its entry. To add one that `perfmamba_kernels` has, with a reference and a cost of
the same name: write an `Operation` in `operations/`, and list it here. For a history of its own under asv,
add a class of three lines to the suite.
"""

from benchmarks.kernel_table.operation import Case, Operation
from benchmarks.kernel_table.operations.causal_conv1d import CAUSAL_CONV1D, CAUSAL_CONV1D_UPDATE
from benchmarks.kernel_table.operations.selective_scan import SELECTIVE_SCAN, SELECTIVE_STATE_UPDATE
from benchmarks.kernel_table.operations.ssd import SSD, SSD_UPDATE

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        SSD,
        SSD_UPDATE,
        SELECTIVE_SCAN,
        SELECTIVE_STATE_UPDATE,
        CAUSAL_CONV1D,
        CAUSAL_CONV1D_UPDATE,
    )
}


def grid(device: str, *, quick: bool = False) -> list[Case]:
    """The cases for a device, "cpu" or "cuda", in the order of their turns; `quick` has the least of each."""
    listed = [
        (sizes.turn, case)
        for operation in OPERATIONS.values()
        for sizes in (operation.quick if quick else operation.table)[device]
        for case in operation.cases(sizes)
    ]
    return [case for _, case in sorted(listed, key=lambda pair: pair[0])]
