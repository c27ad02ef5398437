"""A case of every operation, small enough for a test."""

import pytest

from benchmarks.kernel_table.measuring import check
from benchmarks.kernel_table.operation import MAMBA1, MAMBA2, Case
from benchmarks.kernel_table.rates import MachineRates

SMALL = (
    Case("ssd", MAMBA2, 2, 70, 12),
    Case("ssd_update", MAMBA2, 2, 1, 12),
    Case("selective_scan", MAMBA1, 2, 40, 4),
    Case("selective_state_update", MAMBA1, 2, 1, 4),
    Case("causal_conv1d", MAMBA2, 2, 40, 12),
    Case("causal_conv1d_update", MAMBA1, 2, 1, 4),
)
SSD, STEP = SMALL[:2]
RATES = MachineRates("a device", {"float32": 1e12}, {10**5: 4e9, 10**7: 2e9, 10**9: 1e9}, 1e9)

each_operation = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.operation)


def outcomes(case, makers):
    return dict(check(case, makers))
