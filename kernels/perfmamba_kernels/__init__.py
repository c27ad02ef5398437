"""Scans and convolutions of Mamba-1 and Mamba-2, free of any model library."""

from perfmamba_kernels import reference
from perfmamba_kernels.checks import KernelError
from perfmamba_kernels.ops import (
    BACKENDS,
    causal_conv1d,
    causal_conv1d_update,
    selective_scan,
    selective_state_update,
    ssd,
    ssd_update,
    why_not_triton,
)

__all__ = [
    "BACKENDS",
    "KernelError",
    "causal_conv1d",
    "causal_conv1d_update",
    "reference",
    "selective_scan",
    "selective_state_update",
    "ssd",
    "ssd_update",
    "why_not_triton",
]
