"""The scans and convolutions chunk by chunk in torch, for any device: the CPU's fast path."""

from perfmamba_kernels.torch_backend.conv import causal_conv1d, causal_conv1d_update
from perfmamba_kernels.torch_backend.selective_scan import selective_scan, selective_state_update
from perfmamba_kernels.torch_backend.ssd import ssd, ssd_update

__all__ = [
    "causal_conv1d",
    "causal_conv1d_update",
    "selective_scan",
    "selective_state_update",
    "ssd",
    "ssd_update",
]
