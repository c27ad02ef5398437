"""How much memory was live, and which allocations outlived the range that made them.

In: the allocations and frees of one kind of device, and the range of each. Out: the same, with what follows
from their history.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Indices, Integers, MemoryEvents, Spans

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MemoryHistory:
    """Allocations and frees.

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
    is_running_sum = bool((memory.live_bytes < 0).any())
    has_addresses = bool(memory.address.all())
    live = np.empty(len(memory), np.int64) if is_running_sum else memory.live_bytes
    growth = np.empty(len(memory), np.int64)
    outlives_range = np.ones(len(memory), bool)
    outlives_window = np.ones(len(memory), bool)
    window_growth = 0
    for here in _places_by_device(memory):
        if is_running_sum:
            live[here] = np.cumsum(memory.size_bytes[here])
        before_window = int(live[here[0]] - memory.size_bytes[here[0]])
        at_entry = _live_at_entry(memory.time_ns[here], live[here], before_window, ranges)
        growth[here] = live[here] - at_entry[owner[here]]
        made = here[memory.size_bytes[here] > 0]
        window_growth = max(window_growth, int(live[made].max(initial=before_window)) - before_window)
        del at_entry, made  # the peak of memory is in the next line
        event, its_free = _frees(memory, here)
        outlives_window[event] = False
        outlives_range[event] = owner[event] != owner[its_free]
    return MemoryHistory(
        range=owner,
        size_bytes=memory.size_bytes,
        live_bytes=live,
        growth_bytes=growth,
        window_growth_bytes=window_growth,
        outlives_range=outlives_range if has_addresses else None,
        outlives_window=outlives_window if has_addresses else None,
        is_running_sum=is_running_sum,
    )


def _places_by_device(memory: MemoryEvents) -> list[Places]:
    """For each device the places of its events, in order of time."""
    if not len(memory):
        return []
    device = (memory.device_type << 16) + memory.device
    # Stable: at equal times the order of the file counts, which is that of the allocator.
    order = np.lexsort((memory.time_ns, device))
    return np.split(order, np.flatnonzero(np.diff(device[order])) + 1)


def _live_at_entry(time_ns: Integers, live: Integers, before_window: int, ranges: Spans) -> Integers:
    """For each range what was live just before it began; then, where `NOTHING` points, before the window."""
    earlier = np.searchsorted(time_ns, ranges.start_ns, side="left")
    return np.append(np.where(earlier > 0, live[earlier - 1], before_window), before_window)


def _frees(memory: MemoryEvents, here: Places) -> tuple[Places, Places]:
    """Of events in order of time those that a free follows at the same address, and those frees."""
    order = here[np.argsort(memory.address[here], kind="stable")]
    order = order[memory.size_bytes[order] != 0]
    event, following = order[:-1], order[1:]
    is_freed = (memory.address[event] == memory.address[following]) & (memory.size_bytes[following] < 0)
    return event[is_freed], following[is_freed]
