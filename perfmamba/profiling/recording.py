"""One torch-profiler trace, and unprofiled latencies, of a callable.

In: a callable that makes one forward pass. Out: a gzipped Kineto trace with shapes and memory, and the
wall time of passes that no profiler slowed down.
"""

import gzip
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from perfmamba.errors import InputError
from perfmamba.files import replacing

_GZIP_LEVEL = 4
_BLOCK_BYTES = 1 << 20
# The profiler's own metadata lies in the first and the last few hundred bytes.
_MARGIN_BYTES = 1 << 16
_HOST_NAME = re.compile(rb'"host_name":\s*"[^"]*",?')
_TRACE_NAME = re.compile(rb'("traceName":\s*)"[^"]*"')


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def latencies_ms(run: Callable[[], object], *, device: torch.device, repeat: int) -> tuple[float, ...]:
    """The time of each of `repeat` calls, in ms: CUDA events on a GPU, the wall clock on a CPU."""
    if device.type != "cuda":
        samples = []
        for _ in range(repeat):
            start = time.perf_counter_ns()
            run()
            samples.append((time.perf_counter_ns() - start) / 1e6)
        return tuple(samples)
    event_class: Any = torch.cuda.Event  # untyped in torch
    events = [event_class(enable_timing=True) for _ in range(repeat + 1)]
    synchronize(device)
    with torch.cuda.device(device):
        events[0].record()
        for event in events[1:]:
            run()
            event.record()
    synchronize(device)
    return tuple(start.elapsed_time(end) for start, end in pairwise(events))


def record_trace(run: Callable[[], object], path: Path, *, device: torch.device, repeat: int) -> None:
    """Profile `repeat` calls and write their trace to `path` (.json.gz).

    One more call goes before them, while the profiler warms up. The device is synchronized before the
    recorded window opens and before it closes, so every kernel in the trace was launched in it.

    Raises:
        InputError: if the trace cannot be written.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(
        activities=activities,
        schedule=schedule(wait=0, warmup=1, active=repeat, repeat=1),
        record_shapes=True,
        profile_memory=True,
    ) as profiler:
        for _ in range(1 + repeat):
            run()
            synchronize(device)
            profiler.step()
    # The plain trace names host and path: were it beside the result, a killed run would leave it there.
    with replacing(path) as compressed, tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "trace.json"
        profiler.export_chrome_trace(str(plain))
        if not plain.exists():  # the exporter only logs what went wrong
            free = f"{shutil.disk_usage(scratch).free / 1e6:,.0f} MB free"
            raise InputError(
                f"the profiler could not write its trace to {tempfile.gettempdir()}, {free}; "
                "let TMPDIR name a folder with more"
            )
        compress_trace(plain, compressed)


def compress_trace(plain: Path, compressed: Path) -> None:
    """Gzip a trace, leaving out what the profiler tells of the machine: host name and file path."""
    middle = plain.stat().st_size - 2 * _MARGIN_BYTES
    with plain.open("rb") as text, gzip.open(compressed, "wb", compresslevel=_GZIP_LEVEL) as out:
        if middle <= 0:
            out.write(_anonymous(text.read()))
            return
        out.write(_anonymous(text.read(_MARGIN_BYTES)))
        while middle > 0:
            middle -= out.write(text.read(min(_BLOCK_BYTES, middle)))
        out.write(_anonymous(text.read()))


def _anonymous(text: bytes) -> bytes:
    return _TRACE_NAME.sub(rb'\1""', _HOST_NAME.sub(b"", text))
