"""Triton kernels: compiled on a CUDA device, or run in Triton's interpreter on CPU tensors.

Each module holds the kernels of one subject, the functions that launch them, and `compile_cases()`: every
configuration that these can choose, which `compile_table` compiles. Importing them needs Triton, no device.
"""

from perfmamba_kernels.triton_backend.conv import causal_conv1d, causal_conv1d_update
from perfmamba_kernels.triton_backend.selective_scan import selective_scan
from perfmamba_kernels.triton_backend.ssd import ssd
from perfmamba_kernels.triton_backend.state_update import selective_state_update, ssd_update

__all__ = [
    "causal_conv1d",
    "causal_conv1d_update",
    "selective_scan",
    "selective_state_update",
    "ssd",
    "ssd_update",
]
