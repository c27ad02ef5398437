"""A trace as columns: one NumPy array for each field, with names and threads as small integers.

In: groups of typed events, one buffer at a time. Out: frozen columns. Times are integer nanoseconds after the
trace's own origin (its `baseTimeNanoseconds`, or the Unix epoch), exact to the nanosecond.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmamba.profiling.events import Kind

Indices = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]

Thread = tuple[int | str, int | str]
"""(process, thread) on the host, (device, stream) on a device."""

_MOST_DIGITS = 15


@dataclass(frozen=True)
class Spans:
    """Spans of time on threads: operators, annotations, modules.

    Attributes:
        name: index into `Trace.names`.
        thread: index into `Trace.threads`.
        start_ns: when each span began.
        duration_ns: how long each span took.
    """

    name: Indices
    thread: Indices
    start_ns: Integers
    duration_ns: Integers

    def __len__(self) -> int:
        return len(self.name)

    @property
    def end_ns(self) -> Integers:
        """When each span ended."""
        return self.start_ns + self.duration_ns

    def select(self, chosen: npt.NDArray[Any]) -> "Spans":
        """The spans at these indices, or where this mask is true."""
        return Spans(self.name[chosen], self.thread[chosen], self.start_ns[chosen], self.duration_ns[chosen])


@dataclass(frozen=True)
class Kernels(Spans):
    """Kernels, copies and memsets. Their thread is a stream of a device.

    Attributes:
        correlation: the number of the call that launched each kernel; -1 if it is not recorded.
    """

    correlation: Integers


@dataclass(frozen=True)
class Launches:
    """Calls of the CUDA or HIP runtime or driver, including those that launch no kernel.

    Attributes:
        name: index into `Trace.names`.
        thread: index into `Trace.threads`.
        start_ns: when each call began.
        correlation: the number that the launched kernels carry; -1 if it is not recorded.
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
        time_ns: when each event happened.
        size_bytes: positive for an allocation, negative for a free.
        live_bytes: bytes that the allocator had handed out on that device after the event; -1 in traces of
            2021, which lack them.
        address: address of the block; 0 in traces of 2021, which lack it.
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
        """The events at these indices, or where this mask is true."""
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
    """Gathers typed events into columns, which grow in place. The columns of each kind can be taken once."""

    def __init__(self) -> None:
        self._names = _Numbering()
        self._threads = _Threads()
        self._columns = {
            (kind, column): _Times() if column in _TIMES else array(_CODES[column])
            for kind in _COLUMNS
            for column in _COLUMNS[kind]
        }

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of their index."""
        return tuple(self._names)

    @property
    def threads(self) -> tuple[Thread, ...]:
        """All threads, in the order of their index."""
        return tuple(self._threads.distinct)

    def add(self, groups: dict[Kind, list[Any]]) -> None:
        """Append the events.

        Raises:
            OverflowError: a number does not fit in 64 bits. Discard the builder: its columns are incomplete.
        """
        for kind, events in groups.items():
            if events and kind in _COLUMNS:
                for column, values in self._values(kind, events):
                    self._columns[kind, column].fromlist(values)

    def spans(self, kind: Kind) -> Spans:
        """The operators, annotations or modules."""
        return Spans(*self._arrays(kind))

    def kernels(self) -> Kernels:
        """The kernels, copies and memsets."""
        return Kernels(*self._arrays(Kind.KERNEL))

    def launches(self) -> Launches:
        """The runtime calls."""
        return Launches(*self._arrays(Kind.LAUNCH))

    def memory(self) -> MemoryEvents:
        """The allocations and frees."""
        return MemoryEvents(*self._arrays(Kind.MEMORY))

    def _arrays(self, kind: Kind) -> Iterator[npt.NDArray[Any]]:
        """The columns of a kind in the order of `_COLUMNS`.

        Each is removed from the builder first, because the conversion of times needs memory for a copy.
        """
        for column in _COLUMNS[kind]:
            yield np.asarray(self._columns.pop((kind, column)))

    def _values(self, kind: Kind, events: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        threads, names = self._threads, self._names
        yield "thread", [threads[event.pid, event.tid] for event in events]
        yield "start", [event.ts for event in events]
        if kind is Kind.MEMORY:
            arguments = [event.args for event in events]
            yield "size", [a.size for a in arguments]
            yield "live", [a.total_allocated for a in arguments]
            yield "address", [(a.address or 0) % 2**64 for a in arguments]
            yield "device_type", [a.device_type for a in arguments]
            yield "device", [a.device for a in arguments]
            return
        yield "name", [names[event.name] for event in events]
        if kind is not Kind.LAUNCH:
            yield "duration", [event.dur for event in events]
        if kind in (Kind.LAUNCH, Kind.KERNEL):
            yield "correlation", [event.args.correlation for event in events]


_SPAN_COLUMNS = ("name", "thread", "start", "duration")
# In the order of the fields of the dataclasses above.
_COLUMNS = {
    Kind.OP: _SPAN_COLUMNS,
    Kind.ANNOTATION: _SPAN_COLUMNS,
    Kind.PYTHON_CALL: _SPAN_COLUMNS,
    Kind.KERNEL: (*_SPAN_COLUMNS, "correlation"),
    Kind.LAUNCH: ("name", "thread", "start", "correlation"),
    Kind.MEMORY: ("thread", "start", "size", "live", "address", "device_type", "device"),
}
_TIMES = ("start", "duration")
# These codes mean the same to the array module and to NumPy: i is 32 bits, q is 64, Q is 64 unsigned.
_CODES = {
    "name": "i",
    "thread": "i",
    "correlation": "q",
    "size": "q",
    "live": "q",
    "address": "Q",
    "device_type": "i",
    "device": "i",
}


class _Numbering(dict[str, int]):
    """Numbers strings in the order in which they are first looked up."""

    def __missing__(self, key: str) -> int:
        self[key] = len(self)
        return self[key]


class _Threads(dict[tuple[int | str, int | str], int]):
    """Numbers threads. "25738" and 25738 count as one thread: writers of 2021 used both for the same one."""

    def __init__(self) -> None:
        super().__init__()
        self.distinct: dict[Thread, int] = {}

    def __missing__(self, key: tuple[int | str, int | str]) -> int:
        process, thread = (int(k) if isinstance(k, str) and k.isdecimal() else k for k in key)
        self[key] = self.distinct.setdefault((process, thread), len(self.distinct))
        return self[key]


class _Times:
    """A column of times. It takes microseconds: doubles, then decimals once doubles are too coarse."""

    def __init__(self) -> None:
        self._doubles = array("d")
        self._exact_ns = array("q")

    def fromlist(self, microseconds: list[Any]) -> None:
        if isinstance(microseconds[0], Decimal):
            self._exact_ns.fromlist([_exact_nanoseconds(ticks) for ticks in microseconds])
        else:
            self._doubles.fromlist(microseconds)

    def __array__(self, dtype: None = None, copy: None = None) -> Integers:
        return np.concatenate((_nanoseconds(np.asarray(self._doubles)), self._exact_ns))


def _nanoseconds(microseconds: npt.NDArray[np.float64]) -> Integers:
    # Not rint(microseconds * 1000): above 2**42 that is a multiple of a half and may round the wrong way.
    whole = np.floor(microseconds)
    fraction_ns = np.rint((microseconds - whole) * 1000).astype(np.int64)
    return whole.astype(np.int64) * 1000 + fraction_ns


def _exact_nanoseconds(microseconds: Decimal) -> int:
    if not microseconds.is_finite() or microseconds.adjusted() > _MOST_DIGITS:
        raise OverflowError(f"{microseconds} microseconds")
    return int(microseconds.scaleb(3).to_integral_value())
