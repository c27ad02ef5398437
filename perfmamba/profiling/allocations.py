"""How much memory was live, and which allocations outlived the range that made them.

In: the allocations and frees of one kind of device, and the range of each. Out: the same, in order of
time, with what follows from their history.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Indices, Integers, MemoryEvents, Spans
from perfmamba.profiling.nesting import NOTHING

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MemoryHistory:
    """Allocations and frees in order of time.

    Attributes:
        range: index of the range that holds each event, else `NOTHING`.
        size_bytes: positive for an allocation, negative for a free.
        live_bytes: given out on the event's device after it.
        growth_bytes: how far that is above what was live when the event's range began; without a range,
            when the window began.
        window_growth_bytes: the highest live bytes after an allocation, above those when the window began.
        outlives_range: for an allocation, whether its block is not freed in the same run of the same range;
            None if blocks have no addresses.
        outlives_window: for an allocation, whether its block is not freed in the window; None likewise.
        is_running_sum: whether `live_bytes` had to be summed up from the window's start, for want of the
            allocator's own count.
    """

    range: Indices
    size_bytes: Integers
    live_bytes: Integers
    growth_bytes: Integers
    window_growth_bytes: int
    outlives_range: Flags | None
    outlives_window: Flags | None
    is_running_sum: bool

    def __len__(self) -> int:
        return len(self.range)


def memory_history(memory: MemoryEvents, owner: Indices, ranges: Spans) -> MemoryHistory:
    """The history of some memory events; `owner` is the range in `ranges` of each, else `NOTHING`."""
    # Stable: at equal times the order of the file counts, which is that of the allocator.
    order = np.argsort(memory.time_ns, kind="stable")
    memory, owner = memory.select(order), owner[order]
    device = (memory.device_type.astype(np.int64) << 32) + memory.device
    is_running_sum = bool((memory.live_bytes < 0).any())
    live = np.empty(len(memory), np.int64)
    growth = np.empty(len(memory), np.int64)
    window_growth = 0
    for present in np.unique(device):
        here = np.flatnonzero(device == present)
        size = memory.size_bytes[here]
        levels = np.cumsum(size) if is_running_sum else memory.live_bytes[here]
        before_window = levels[0] - size[0]
        live[here] = levels
        growth[here] = levels - _live_at_entry(
            memory.time_ns[here], levels, before_window, owner[here], ranges
        )
        window_growth = max(window_growth, int((levels - before_window)[size > 0].max(initial=0)))
    freed = _free_of(device, memory) if memory.address.all() else None
    return MemoryHistory(
        range=owner,
        size_bytes=memory.size_bytes,
        live_bytes=live,
        growth_bytes=growth,
        window_growth_bytes=window_growth,
        outlives_range=None if freed is None else (freed == NOTHING) | (owner != owner[freed]),
        outlives_window=None if freed is None else freed == NOTHING,
        is_running_sum=is_running_sum,
    )


def _live_at_entry(
    time_ns: Integers, live: Integers, before_window: int, owner: Indices, ranges: Spans
) -> Integers:
    """For each event what was live just before its range began."""
    entry_ns = np.full(len(owner), np.iinfo(np.int64).min)
    entry_ns[owner != NOTHING] = ranges.start_ns[owner[owner != NOTHING]]
    earlier = np.searchsorted(time_ns, entry_ns, side="left")
    return np.concatenate(([before_window], live))[earlier]


def _free_of(device: Integers, memory: MemoryEvents) -> Indices:
    """For each event the index of the next one at its address if that is a free, else `NOTHING`."""
    order = np.lexsort((memory.address, device))  # stable: events of one block stay in order of time
    event, following = order[:-1], order[1:]
    freed = (
        (memory.address[event] == memory.address[following])
        & (device[event] == device[following])
        & (memory.size_bytes[following] < 0)
    )
    result = np.full(len(order), NOTHING, np.int32)
    result[event[freed]] = following[freed]
    return result
