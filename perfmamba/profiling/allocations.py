"""How much memory was live, and which allocations outlived the range that made them.

In: the allocations and frees of one kind of device, and the range of each. Out: a `MemoryHistory`, which adds
the live bytes and the lifetime of each block.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Indices, Integers, MemoryEvents, Spans

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MemoryHistory:
    """Allocations and frees, with the live memory after each and the lifetime of each block.

    Attributes:
        range: index of the range that holds each event, or `NOTHING`.
        size_bytes: positive for an allocation, negative for a free.
        live_bytes: bytes allocated on the event's device after the event.
        growth_bytes: `live_bytes` minus the bytes that were live when the event's range began. For an event
            outside all ranges, minus the bytes that were live when the window began.
        window_growth_bytes: the highest `live_bytes` after an allocation, minus the bytes that were live when
            the window began.
        outlives_range: for an allocation, whether its block is not freed within the same range (the same
            span, not another of its name); None if the trace has no addresses of blocks.
        outlives_window: for an allocation, whether its block is still live at the end of the window; None if
            the trace has no addresses of blocks.
        is_running_sum: whether `live_bytes` was summed up from the start of the window because the trace
            lacks the allocator's own count.
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
    """The history of memory events; `owner` is the index in `ranges` of each event's range, or `NOTHING`."""
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
        del at_entry, made  # the next line is where this function needs the most memory
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
    """The places of each device's events, in order of time."""
    if not len(memory):
        return []
    device = (memory.device_type << 16) + memory.device
    # lexsort is stable: events at the same time stay in the order of the file, which is the allocator's.
    order = np.lexsort((memory.time_ns, device))
    return np.split(order, np.flatnonzero(np.diff(device[order])) + 1)


def _live_at_entry(time_ns: Integers, live: Integers, before_window: int, ranges: Spans) -> Integers:
    """The bytes that were live just before each range began.

    The last element, to which the index `NOTHING` (-1) points, is for events outside all ranges: the bytes
    that were live before the window.
    """
    earlier = np.searchsorted(time_ns, ranges.start_ns, side="left")
    return np.append(np.where(earlier > 0, live[earlier - 1], before_window), before_window)


def _frees(memory: MemoryEvents, here: Places) -> tuple[Places, Places]:
    """The events that are followed by a free at the same address, and those frees."""
    order = here[np.argsort(memory.address[here], kind="stable")]
    order = order[memory.size_bytes[order] != 0]
    event, following = order[:-1], order[1:]
    is_freed = (memory.address[event] == memory.address[following]) & (memory.size_bytes[following] < 0)
    return event[is_freed], following[is_freed]
