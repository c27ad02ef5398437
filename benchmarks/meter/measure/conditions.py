"""The conditions of every measurement, as environment variables that all runners set."""

STEADY_HEAP = {
    "GLIBC_TUNABLES": ":".join(
        (
            "glibc.malloc.mmap_max=0",
            f"glibc.malloc.trim_threshold={2**40}",
            f"glibc.malloc.top_pad={2**26}",
        )
    )
}
"""Variables that make glibc keep the memory that it has; other C libraries ignore them.

By default the kernel maps each large tensor, clears it page by page and unmaps it again. What that costs
depends on where the process lies in memory: starts of the same program differed by up to 5 % in a prefill of
58 ms. With these variables they differed by 1 %, and the prefill took 44 ms.
"""

SHARED_TUNING = {"TRITON_CACHE_AUTOTUNING": "1"}
"""Makes Triton keep the best configuration for a shape on disk, beside its compiled kernels. Each cell has a
process of its own, which would search again."""

CONDITIONS = {**STEADY_HEAP, **SHARED_TUNING}
"""All of them."""
