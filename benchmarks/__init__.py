"""The asv suites of PerfMamba, one file a subject; `meter/` holds what measures.

asv runs today's suites against every commit's package, so a suite guards its imports of `perfmamba` and
skips the commits that lack what it needs. asv imports every module of this package in one process and forks
a child from it for each cell: nothing here may start a thread or touch a GPU when imported.

`meter/` and everything else that is no suite stays out of asv's discovery by being a namespace package (a
folder without `__init__.py`).
"""

import os
from importlib.util import find_spec

# Whoever asks, while it is imported, whether CUDA is there (kernel packages do) is answered by NVML: the
# answer of the CUDA driver would bar the forked children from the GPU.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

if find_spec("asv_runner"):  # the commands beside the suites run without it
    from benchmarks.meter.types.register import register

    register()
