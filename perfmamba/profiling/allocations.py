"""How much memory was live, and which allocations outlived the range that made them.

In: the allocations and frees of one kind of device, and the range of each. Out: the same, with what follows
from their history.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.columns import Indices, Integers, MemoryEvents, Spans
from perfmamba.profiling.nesting import NOTHING

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
    device = (memory.device_type << 16) + memory.device
    is_running_sum = bool((memory.live_bytes < 0).any())
    live = np.empty(len(memory), np.int64)
    growth = np.empty(len(memory), np.int64)
    free = np.full(len(memory), NOTHING, np.int32)
    window_growth = 0
    for present in np.unique(device):
        here = np.flatnonzero(device == present)
        # Stable: at equal times the order of the file counts, which is that of the allocator.
        here = here[np.argsort(memory.time_ns[here], kind="stable")]
        levels, before_window = _levels(memory, here, is_running_sum=is_running_sum)
        at_entry = _live_at_entry(memory.time_ns[here], levels, before_window, owner[here], ranges)
        live[here] = levels
        growth[here] = levels - at_entry
        made = memory.size_bytes[here] > 0
        window_growth = max(window_growth, int(levels[made].max(initial=before_window)) - before_window)
        del levels, at_entry, made  # the peak of memory is in the next line
        event, its_free = _frees(memory.address[here], memory.size_bytes[here])
        free[here[event]] = here[its_free]
    has_addresses = bool(memory.address.all())
    return MemoryHistory(
        range=owner,
        size_bytes=memory.size_bytes,
        live_bytes=live,
        growth_bytes=growth,
        window_growth_bytes=window_growth,
        outlives_range=(free == NOTHING) | (owner != owner[free]) if has_addresses else None,
        outlives_window=free == NOTHING if has_addresses else None,
        is_running_sum=is_running_sum,
    )


def _levels(memory: MemoryEvents, here: Places, *, is_running_sum: bool) -> tuple[Integers, int]:
    """What was live after each event of one device, in order of time, and before the first."""
    size = memory.size_bytes[here]
    levels = np.cumsum(size) if is_running_sum else memory.live_bytes[here]
    return levels, int(levels[0] - size[0])


def _live_at_entry(
    time_ns: Integers, live: Integers, before_window: int, owner: Indices, ranges: Spans
) -> Integers:
    """For each event what was live just before its range began."""
    entry_ns = np.full(len(owner), np.iinfo(np.int64).min)
    entry_ns[owner != NOTHING] = ranges.start_ns[owner[owner != NOTHING]]
    earlier = np.searchsorted(time_ns, entry_ns, side="left")
    return np.concatenate(([before_window], live))[earlier]


def _frees(address: npt.NDArray[np.uint64], size: Integers) -> tuple[Places, Places]:
    """The places of events in order of time that a free follows at the same address, and of those frees."""
    order = np.argsort(address, kind="stable")
    order = order[size[order] != 0]
    its_address, its_size = address[order], size[order]
    is_freed = (its_address[:-1] == its_address[1:]) & (its_size[1:] < 0)
    return order[:-1][is_freed], order[1:][is_freed]
