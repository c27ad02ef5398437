"""The conditions that every measurement is taken under, as environment variables, for all runners."""

STEADY_HEAP = {
    "GLIBC_TUNABLES": ":".join(
        (
            "glibc.malloc.mmap_max=0",
            f"glibc.malloc.trim_threshold={2**40}",
            f"glibc.malloc.top_pad={2**26}",
        )
    )
}
"""Environment variables that make glibc keep the memory it has got; other C libraries ignore them.

By default each large tensor is mapped, cleared page by page and unmapped again by the kernel, at a cost that
depends on where the process happens to lie: starts of the same program differed by up to 5 % in a 58 ms
prefill, with this by 1 % (and the prefill took 44 ms).
"""

SHARED_TUNING = {"TRITON_CACHE_AUTOTUNING": "1"}
"""Makes Triton keep on disk, beside its compiled kernels, which configuration it found best for a shape: each
cell is a process of its own, and would search again."""

CONDITIONS = {**STEADY_HEAP, **SHARED_TUNING}
"""All of them."""
