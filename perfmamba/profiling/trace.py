"""A trace that has been read: its columns, its names and what it says about itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Kernels, Launches, MemoryEvents, Spans, Thread

DeviceKind = Literal["cuda", "hip", "cpu"]

_CPU_MEMORY = 0
_HIP_MEMORY = 6


@dataclass(frozen=True)
class Trace:
    """A Kineto trace.

    Attributes:
        path: the file, as the user named it.
        metadata: the members of the file beside its events, such as `deviceProperties`,
            `cuda_runtime_version` or `record_shapes`; empty for a bare list of events.
        names: what the `name` columns point into.
        threads: what the `thread` columns point into.
        ops: operators (`aten::add`).
        annotations: ranges that the program opened (`record_function`), the profiler's steps included.
        modules: `nn.Module` calls; only in traces recorded with stacks.
        launches: calls of the device's runtime and driver.
        kernels: what ran on the device.
        memory: allocations and frees, in the order of the file.
        cut_at: byte of the text at which a truncated trace ends; None for a whole one.
    """

    path: str
    metadata: Mapping[str, Any]
    names: tuple[str, ...]
    threads: tuple[Thread, ...]
    ops: Spans
    annotations: Spans
    modules: Spans
    launches: Launches
    kernels: Kernels
    memory: MemoryEvents
    cut_at: int | None = None

    @cached_property
    def device(self) -> DeviceKind:
        """Where the measured work ran: "cpu" if the trace holds no kernel."""
        if not len(self.kernels):
            return "cpu"
        hip_calls = self.named(self.launches, lambda name: name.startswith("hip"))
        return "hip" if hip_calls.any() or (self.memory.device_type == _HIP_MEMORY).any() else "cuda"

    @property
    def device_memory(self) -> MemoryEvents:
        """The allocations and frees on the device where the work ran."""
        wanted = (self.memory.device_type == _CPU_MEMORY) == (self.device == "cpu")
        return self.memory if wanted.all() else self.memory.select(wanted)

    def named(self, events: Spans | Launches, is_wanted: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
        """For each of the events whether its name is a wanted one; each name is asked about once."""
        wanted = np.array([is_wanted(name) for name in self.names], bool)
        return wanted[events.name]
