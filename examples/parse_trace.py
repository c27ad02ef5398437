"""Parse a trace of the torch profiler into a pandas data frame: `python examples/parse_trace.py [TRACE]`.

Without a trace one is recorded first, of a module that is no Mamba.
"""

import sys
import tempfile
from pathlib import Path

import torch

import perfmamba


def record(path: Path) -> Path:
    """Record a trace as any script with the torch profiler does."""
    module = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 256))
    with torch.profiler.profile(profile_memory=True) as profiler:
        module(torch.randn(32, 256))
    profiler.export_chrome_trace(str(path))
    return path


with tempfile.TemporaryDirectory() as folder:
    trace = Path(sys.argv[1]) if len(sys.argv) > 1 else record(Path(folder, "trace.json"))
    frame = perfmamba.parse(trace, by="op").to_pandas()

print(frame.nlargest(5, "time_ns")[["label", "launches", "time_ns", "allocated_bytes"]])
