"""A trace as columns: one NumPy array a field, names and threads as small integers.

In: groups of typed events, a buffer at a time. Out: frozen columns. Time is in integer nanoseconds after
the trace's own origin (its `baseTimeNanoseconds`, or the Unix epoch), exact to the nanosecond.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.events import Kind

Indices = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]

Thread = tuple[int | str, int | str]
"""(process, thread) on the host, (device, stream) on a device."""

# Below it neighbouring doubles are less than a nanosecond apart: 101 days. Newer writers stay below by
# writing time relative to `baseTimeNanoseconds`.
_EXACT_MICROSECONDS = 2.0**43


class InexactTicksError(Exception):
    """A time stamp is too large for a double to hold its nanoseconds."""


@dataclass(frozen=True)
class Spans:
    """Things that last on a thread: operators, annotations, modules.

    Attributes:
        name: index into `Trace.names`.
        thread: index into `Trace.threads`.
        start_ns: when each began.
        duration_ns: how long each took.
    """

    name: Indices
    thread: Indices
    start_ns: Integers
    duration_ns: Integers

    def __len__(self) -> int:
        return len(self.name)

    @property
    def end_ns(self) -> Integers:
        """When each ended."""
        return self.start_ns + self.duration_ns

    def select(self, chosen: npt.NDArray[Any]) -> "Spans":
        """Those at the indices, or where the mask is true."""
        return Spans(self.name[chosen], self.thread[chosen], self.start_ns[chosen], self.duration_ns[chosen])


@dataclass(frozen=True)
class Kernels(Spans):
    """Kernels, copies and memsets; the thread is a stream of a device.

    Attributes:
        correlation: the number of the call that launched each; -1 if not recorded.
    """

    correlation: Integers


@dataclass(frozen=True)
class Launches:
    """Calls of the CUDA or HIP runtime or driver, launching or not.

    Attributes:
        name: index into `Trace.names`.
        thread: index into `Trace.threads`.
        start_ns: when each began.
        correlation: the number that the launched kernels carry; -1 if not recorded.
    """

    name: Indices
    thread: Indices
    start_ns: Integers
    correlation: Integers

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class MemoryEvents:
    """Allocations and frees.

    Attributes:
        thread: index into `Trace.threads`.
        time_ns: when.
        size_bytes: positive for an allocation, negative for a free.
        live_bytes: what the allocator had given out on that device after the event; -1 in traces of 2021.
        address: of the block; 0 in traces of 2021.
        device_type: 0 CPU, 1 CUDA, 6 HIP.
        device: index of the device; -1 for the CPU.
    """

    thread: Indices
    time_ns: Integers
    size_bytes: Integers
    live_bytes: Integers
    address: npt.NDArray[np.uint64]
    device_type: Indices
    device: Indices

    def __len__(self) -> int:
        return len(self.thread)

    def select(self, chosen: npt.NDArray[Any]) -> "MemoryEvents":
        """Those at the indices, or where the mask is true."""
        return MemoryEvents(
            self.thread[chosen],
            self.time_ns[chosen],
            self.size_bytes[chosen],
            self.live_bytes[chosen],
            self.address[chosen],
            self.device_type[chosen],
            self.device[chosen],
        )


class ColumnBuilder:
    """Gathers typed events into columns."""

    def __init__(self) -> None:
        self._names = _Numbering()
        self._threads = _Threads()
        self._parts: dict[tuple[Kind, str], list[npt.NDArray[Any]]] = defaultdict(list)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name met, in the order of its index."""
        return tuple(self._names)

    @property
    def threads(self) -> tuple[Thread, ...]:
        """Every thread met, in the order of its index."""
        return tuple(self._threads.distinct)

    def add(self, groups: dict[Kind, list[Any]]) -> None:
        """Append the events; all of them or, on an error, none.

        Raises:
            InexactTicksError: decode these events again, with decimals.
            OverflowError: a number does not fit in 64 bits.
        """
        parts = [part for kind, events in groups.items() if events for part in self._columns(kind, events)]
        for kind, column, values in parts:
            self._parts[kind, column].append(values)

    def spans(self, kind: Kind) -> Spans:
        """The operators, annotations or modules; they are handed over, not kept."""
        return Spans(*(self._take(kind, column) for column in ("name", "thread", "start", "duration")))

    def kernels(self) -> Kernels:
        """The kernels; they are handed over, not kept."""
        columns = ("name", "thread", "start", "duration", "correlation")
        return Kernels(*(self._take(Kind.KERNEL, column) for column in columns))

    def launches(self) -> Launches:
        """The runtime calls; they are handed over, not kept."""
        return Launches(*(self._take(Kind.LAUNCH, c) for c in ("name", "thread", "start", "correlation")))

    def memory(self) -> MemoryEvents:
        """The allocations and frees; they are handed over, not kept."""
        columns = ("thread", "start", "size", "live", "address", "device_type", "device")
        return MemoryEvents(*(self._take(Kind.MEMORY, column) for column in columns))

    def _columns(self, kind: Kind, events: list[Any]) -> Iterable[tuple[Kind, str, npt.NDArray[Any]]]:
        if kind is Kind.IGNORED:
            return
        threads, names = self._threads, self._names
        yield kind, "thread", np.array([threads[event.pid, event.tid] for event in events], np.int32)
        yield kind, "start", _nanoseconds([event.ts for event in events])
        if kind is Kind.MEMORY:
            arguments = [event.args for event in events]
            yield kind, "size", np.array([a.size for a in arguments], np.int64)
            yield kind, "live", np.array([a.total_allocated for a in arguments], np.int64)
            yield kind, "address", np.array([(a.address or 0) % 2**64 for a in arguments], np.uint64)
            yield kind, "device_type", np.array([a.device_type for a in arguments], np.int32)
            yield kind, "device", np.array([a.device for a in arguments], np.int32)
            return
        yield kind, "name", np.array([names[event.name] for event in events], np.int32)
        if kind is not Kind.LAUNCH:
            yield kind, "duration", _nanoseconds([event.dur for event in events])
        if kind in (Kind.LAUNCH, Kind.KERNEL):
            yield kind, "correlation", np.array([event.args.correlation for event in events], np.int64)

    def _take(self, kind: Kind, column: str) -> npt.NDArray[Any]:
        parts = self._parts.pop((kind, column), [])
        return np.concatenate(parts) if parts else np.empty(0, _EMPTY_TYPES.get(column, np.int64))


_EMPTY_TYPES: dict[str, Any] = {
    "name": np.int32,
    "thread": np.int32,
    "device": np.int32,
    "device_type": np.int32,
    "address": np.uint64,
}


class _Numbering(dict[str, int]):
    """Numbers strings in the order in which they are first looked up."""

    def __missing__(self, key: str) -> int:
        self[key] = len(self)
        return self[key]


class _Threads(dict[tuple[int | str, int | str], int]):
    """Numbers threads; "25738" and 25738 are one, for writers of 2021 that used both for it."""

    def __init__(self) -> None:
        super().__init__()
        self.distinct: dict[Thread, int] = {}

    def __missing__(self, key: tuple[int | str, int | str]) -> int:
        process, thread = (int(k) if isinstance(k, str) and k.isdecimal() else k for k in key)
        self[key] = self.distinct.setdefault((process, thread), len(self.distinct))
        return self[key]


def _nanoseconds(microseconds: list[Any]) -> Integers:
    """Microseconds, floats or decimals, as integer nanoseconds."""
    if not isinstance(microseconds[0], float):
        return np.array([int(ticks.scaleb(3).to_integral_value()) for ticks in microseconds], np.int64)
    ticks = np.array(microseconds)
    if np.abs(ticks).max() >= _EXACT_MICROSECONDS:
        raise InexactTicksError
    # Not rint(ticks * 1000): above 2**42 that product is a multiple of a half and may round the wrong way.
    whole = np.floor(ticks)
    nanoseconds: Integers = whole.astype(np.int64) * 1000 + np.rint((ticks - whole) * 1000).astype(np.int64)
    return nanoseconds
