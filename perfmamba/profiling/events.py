"""Trace events as typed objects: which categories are used, and which of their fields are read.

In: JSON text of events, or decoded dictionaries. Out: one small struct for each event, grouped by kind. The
decoder skips all fields that are not declared here.
"""

import functools
import operator
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum, auto
from types import GenericAlias
from typing import Annotated, Any

import msgspec
from msgspec import Struct

MEMORY_NAME = "[memory]"
MODULE_PREFIX = "nn.Module: "


# Below this limit (101 days) neighboring doubles are less than a nanosecond apart. Newer writers stay below
# it because they write times relative to `baseTimeNanoseconds`.
_EXACT_MICROSECONDS = 2.0**43
ExactFloat = Annotated[float, msgspec.Meta(gt=-_EXACT_MICROSECONDS, lt=_EXACT_MICROSECONDS)]
"""Microseconds that a double holds to the nanosecond; the decoder refuses larger ones."""


class Kind(Enum):
    """The kinds of events; each has columns of its own, except `IGNORED`."""

    OP = auto()
    ANNOTATION = auto()
    PYTHON_CALL = auto()
    LAUNCH = auto()
    KERNEL = auto()
    MEMORY = auto()
    IGNORED = auto()


_CATEGORIES = {
    "cpu_op": Kind.OP,
    "Operator": Kind.OP,
    "user_annotation": Kind.ANNOTATION,
    "python_function": Kind.PYTHON_CALL,
    "cuda_runtime": Kind.LAUNCH,
    "cuda_driver": Kind.LAUNCH,
    "Runtime": Kind.LAUNCH,
    "kernel": Kind.KERNEL,
    "gpu_memcpy": Kind.KERNEL,
    "gpu_memset": Kind.KERNEL,
    "Kernel": Kind.KERNEL,
    "Memcpy": Kind.KERNEL,
    "Memset": Kind.KERNEL,
    "cpu_instant_event": Kind.MEMORY,
    # Not needed. They are listed because an unknown category is ignored ten times more slowly.
    "gpu_user_annotation": Kind.IGNORED,
    "ac2g": Kind.IGNORED,
    "async_cpu_to_gpu": Kind.IGNORED,
    "async": Kind.IGNORED,
    "fwdbwd": Kind.IGNORED,
    "overhead": Kind.IGNORED,
    "cuda_sync": Kind.IGNORED,
    "cuda_event": Kind.IGNORED,
    "cuda_profiler_range": Kind.IGNORED,
    "hardware_counters": Kind.IGNORED,
    "collective_comm": Kind.IGNORED,
    "glow_runtime": Kind.IGNORED,
    "Trace": Kind.IGNORED,
}


class Correlation(Struct, gc=False):
    """The argument that connects a kernel with its launch; -1 if the trace lacks it."""

    correlation: int = -1


class AllocatorArgs(Struct, gc=False):
    """The arguments of a `[memory]` event; the defaults stand for what old traces lack."""

    size: int = msgspec.field(name="Bytes", default=0)
    address: int | None = msgspec.field(name="Addr", default=None)
    total_allocated: int = msgspec.field(name="Total Allocated", default=-1)
    device_type: int = msgspec.field(name="Device Type", default=0)
    device: int = msgspec.field(name="Device Id", default=-1)


class EventDecoder:
    """Decodes events, with time stamps (microseconds) as `ExactFloat` or as decimals.

    Args:
        exact: decode time stamps as decimals. This is three times slower. It is needed for time stamps that
            `ExactFloat` refuses.
    """

    def __init__(self, *, exact: bool = False) -> None:
        ticks = Decimal if exact else ExactFloat
        kinds = {_event_type(category, kind, ticks): kind for category, kind in _CATEGORIES.items()}
        self._event = functools.reduce(operator.or_, kinds)
        events = GenericAlias(list, (self._event,))
        self._array: msgspec.json.Decoder[list[Struct]] = msgspec.json.Decoder(events)
        self._kinds = kinds

    def decode(self, text: memoryview) -> dict[Kind, list[Any]]:
        """The events of a JSON array.

        Raises:
            msgspec.DecodeError: the array is not JSON, or an event has an unknown category or unexpected
                fields.
        """
        return self._grouped(self._array.decode(text))

    def convert(self, event: dict[str, Any]) -> dict[Kind, list[Any]]:
        """One event from an array that `decode` refused, which may be the fault of another event in it.

        Returns:
            The event by its kind; an empty dictionary if its category is unknown.

        Raises:
            msgspec.ValidationError: a declared field holds a value of a wrong type.
        """
        category = event.get("cat")
        if category is None and event.get("name") == MEMORY_NAME:
            category = "cpu_instant_event"  # traces until 2021 have no category here
        if category not in _CATEGORIES:
            return {}
        # Not strict: ROCm writes some numbers as strings.
        typed = msgspec.convert({**event, "cat": category}, self._event, strict=False)
        return self._grouped([typed])

    def _grouped(self, events: Iterable[Struct]) -> dict[Kind, list[Any]]:
        groups: dict[Kind, list[Any]] = {kind: [] for kind in Kind}
        append = {event_type: groups[kind].append for event_type, kind in self._kinds.items()}
        for event in events:
            append[type(event)](event)
        groups[Kind.MEMORY] = [event for event in groups[Kind.MEMORY] if event.name == MEMORY_NAME]
        groups[Kind.PYTHON_CALL] = [
            event for event in groups[Kind.PYTHON_CALL] if event.name.startswith(MODULE_PREFIX)
        ]
        return groups


def _event_type(category: str, kind: Kind, ticks: Any) -> type[Struct]:
    fields: list[Any] = []
    if kind is not Kind.IGNORED:
        fields = [("name", str), ("pid", int | str), ("tid", int | str), ("ts", ticks)]
    if kind in (Kind.OP, Kind.ANNOTATION, Kind.PYTHON_CALL, Kind.KERNEL):
        fields.append(("dur", ticks, ticks(0)))
    if kind in (Kind.LAUNCH, Kind.KERNEL):
        fields.append(("args", Correlation, msgspec.field(default_factory=Correlation)))
    if kind is Kind.MEMORY:
        fields.append(("args", AllocatorArgs, msgspec.field(default_factory=AllocatorArgs)))
    # gc=False: without the garbage collector's bookkeeping, creating such a struct takes half the time.
    return msgspec.defstruct(f"{kind.name}_{category}", fields, tag_field="cat", tag=category, gc=False)
