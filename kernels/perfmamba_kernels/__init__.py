"""Scans and convolutions of Mamba-1 and Mamba-2, free of any model library."""

from perfmamba_kernels import reference

__all__ = ["reference"]
