"""How much memory was live, and which allocations outlived the range that made them.

In: the allocations and frees of one kind of device, and the range of each. Out: the same, in order of
time, with what follows from their history.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Integers, MemoryEvents, Spans
from perfmamba.profiling.nesting import NOTHING


@dataclass(frozen=True)
class MemoryHistory:
    """Allocations and frees in order of time.

    Attributes:
        range: index of the range that holds each event, else `NOTHING`.
        size_bytes: positive for an allocation, negative for a free.
        live_bytes: given out on the event's device after it.
        growth_bytes: how far that is above what was live when the event's range began; without a range,
            when the window began.
        window_growth_bytes: how far that is above what was live when the window began.
        freed_in: for an allocation, the range of its free, or `NEVER`; None if blocks have no addresses.
        is_running_sum: whether `live_bytes` had to be summed up from the window's start, for want of the
            allocator's own count.
    """

    range: Integers
    size_bytes: Integers
    live_bytes: Integers
    growth_bytes: Integers
    window_growth_bytes: Integers
    freed_in: Integers | None
    is_running_sum: bool

    def __len__(self) -> int:
        return len(self.range)


NEVER = -2
"""In place of the range of a free: the block is not freed in the window."""


def memory_history(memory: MemoryEvents, owner: Integers, ranges: Spans) -> MemoryHistory:
    """The history of some memory events; `owner` is the range in `ranges` of each, else `NOTHING`."""
    # Stable: at equal times the order of the file counts, which is that of the allocator.
    order = np.argsort(memory.time_ns, kind="stable")
    memory, owner = memory.select(order), owner[order]
    device = (memory.device_type.astype(np.int64) << 32) + memory.device
    is_running_sum = bool((memory.live_bytes < 0).any())
    live = np.empty(len(memory), np.int64)
    growth = np.empty(len(memory), np.int64)
    window_growth = np.empty(len(memory), np.int64)
    for present in np.unique(device):
        here = np.flatnonzero(device == present)
        size = memory.size_bytes[here]
        live[here] = np.cumsum(size) if is_running_sum else memory.live_bytes[here]
        before_window = live[here[0]] - size[0]
        at_entry = _live_at_entry(memory.time_ns[here], live[here], before_window, owner[here], ranges)
        growth[here] = live[here] - at_entry
        window_growth[here] = live[here] - before_window
    return MemoryHistory(
        range=owner,
        size_bytes=memory.size_bytes,
        live_bytes=live,
        growth_bytes=growth,
        window_growth_bytes=window_growth,
        freed_in=_freed_in(device, memory, owner) if memory.address.all() else None,
        is_running_sum=is_running_sum,
    )


def _live_at_entry(
    time_ns: Integers, live: Integers, before_window: int, owner: Integers, ranges: Spans
) -> Integers:
    """For each event what was live just before its range began."""
    entry_ns = np.full(len(owner), np.iinfo(np.int64).min)
    entry_ns[owner != NOTHING] = ranges.start_ns[owner[owner != NOTHING]]
    earlier = np.searchsorted(time_ns, entry_ns, side="left")
    return np.concatenate(([before_window], live))[earlier]


def _freed_in(device: Integers, memory: MemoryEvents, owner: Integers) -> npt.NDArray[np.int64]:
    """For each event the range of the next one at its address if that is a free, else `NEVER`."""
    order = np.lexsort((memory.address, device))  # stable: events of one block stay in order of time
    following = order[1:]
    freed = (
        (memory.address[order[:-1]] == memory.address[following])
        & (device[order[:-1]] == device[following])
        & (memory.size_bytes[following] < 0)
    )
    result = np.full(len(owner), NEVER, np.int64)
    result[order[:-1]] = np.where(freed, owner[following], NEVER)
    return result
