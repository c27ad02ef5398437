"""Kineto traces of any size, in the layout of Kineto's own writer.

In: the events of one step, generated here or taken from a real trace. Out: a file in which that step is
repeated, later each time and with correlations of its own, until it is large enough.
"""

import gzip
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

Event = dict[str, Any]

LAYERS = 24
OPS_PER_COMPONENT = 6
COMPONENTS = ("norm", "in_proj", "conv", "ssm", "out_proj")
_KERNEL_NAME = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<c10::BFloat16>, "
    "std::array<char*, 3ul> >(int, at::native::CUDAFunctor_add<c10::BFloat16>, std::array<char*, 3ul>)"
)
_HEADER = {
    "schemaVersion": 1,
    "deviceProperties": [{"id": 0, "name": "generated", "computeMajor": 9, "computeMinor": 0, "numSms": 132}],
    "record_shapes": 1,
    "profile_memory": 1,
    "with_stack": 1,
    "displayTimeUnit": "ms",
    "baseTimeNanoseconds": 1751410836000000000,
}
_TIME, _CORRELATION = "@time@", "@correlation@"
_SLOT = re.compile(rf'"{_TIME}(\d+)"|"{_CORRELATION}(\d+)"')
_GAP_NS = 1_000_000


def real_step(path: Path) -> list[Event]:
    """The events of a real trace, plain or gzip."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    events: list[Event] = json.loads(text, parse_float=Decimal)["traceEvents"]
    return events


def generated_step() -> list[Event]:
    """One forward pass of a model of `LAYERS` layers, in our component ranges, as an H100 trace shows it.

    Of ten events two are operators, two Python calls, two flow arrows, the rest runtime calls, kernels,
    allocations and frees, as in the traces of transformers that others published.
    """
    step = _Step()
    start = step.now_us
    for layer in range(LAYERS):
        for component in COMPONENTS:
            step.component(layer, component)
    step.span("user_annotation", "perfmamba::model", start)
    step.span("user_annotation", "ProfilerStep#1", start - 1)
    return [_thread_name(), *step.events]


class _Step:
    """The events of a step, growing as its clock goes on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now_us = Decimal(4466195121493)
        self.device_us = self.now_us + 900  # the device lags behind the host
        self.correlation = 0

    def component(self, layer: int, component: str) -> None:
        start = self.now_us
        for call in range(OPS_PER_COMPONENT):
            self.python_calls(component, call)
            self.operator(f"aten::{component}_{call}")
        self.span("user_annotation", f"perfmamba::layer{layer}::{component}", start)

    def python_calls(self, component: str, call: int) -> None:
        for depth, name in enumerate(
            (f"torch/nn/modules/module.py({call}): _call_impl", f"nn.Module: {component}_{call}")
        ):
            self.span("python_function", name, self.now_us, {"Python id": depth, "Python parent id": depth})

    def operator(self, name: str) -> None:
        start = self.now_us
        address = 137877174353920 + 512 * (self.correlation % 64)
        self.memory(address, 18317312)
        self.launch()
        self.memory(address, -18317312)
        args = {
            "External id": self.correlation,
            "Record function id": 0,
            "Concrete Inputs": ["", "", "-1", "False"],
            "Input type": ["c10::BFloat16", "c10::BFloat16", "Scalar", "Scalar"],
            "Input Strides": [[1024, 1], [559, 1], [], []],
            "Input Dims": [[151936, 1024], [16, 559], [], []],
            "Ev Idx": len(self.events),
        }
        self.span("cpu_op", name, start, args)
        self.span("cpu_op", "aten::empty_strided", self.now_us, args)

    def launch(self) -> None:
        self.correlation += 1
        ids = {"External id": self.correlation, "correlation": self.correlation}
        arrow = {"cat": "ac2g", "id": self.correlation, "name": "ac2g"}
        self.events.append({"ph": "s", **arrow, "pid": 25286, "tid": 25286, "ts": self.now_us})
        self.span("cuda_runtime", "cudaLaunchKernel", self.now_us, {"cbid": 211, **ids})
        shape = {"grid": [1024, 1, 1], "block": [128, 1, 1], "registers per thread": 32, "shared memory": 0}
        args = {**ids, "device": 0, "context": 1, "stream": 7, **shape, "est. achieved occupancy %": 44}
        place = {"pid": 0, "tid": 7, "ts": self.device_us}
        self.events.append({"ph": "f", **arrow, **place, "bp": "e"})
        kernel = {"ph": "X", "cat": "kernel", "name": _KERNEL_NAME, **place, "dur": Decimal("18.112")}
        self.events.append({**kernel, "args": args})
        self.device_us += 20

    def memory(self, address: int, size: int) -> None:
        self.now_us += 1
        args = {"Total Reserved": 2629828608, "Total Allocated": 1003059712 + max(size, 0), "Bytes": size}
        args |= {"Addr": address, "Device Id": 0, "Device Type": 1, "Ev Idx": len(self.events)}
        head = {"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]"}
        self.events.append({**head, "pid": 25286, "tid": 25286, "ts": self.now_us, "args": args})

    def span(self, category: str, name: str, start_us: Decimal, args: Event | None = None) -> None:
        """Close a span that began at `start_us`, and let a little time pass."""
        self.now_us += 2
        head = {"ph": "X", "cat": category, "name": name, "pid": 25286, "tid": 25286}
        self.events.append(
            {**head, "ts": start_us, "dur": self.now_us - start_us, "args": args or {"Ev Idx": 0}}
        )


def _thread_name() -> Event:
    return {"ph": "M", "name": "thread_name", "pid": 25286, "tid": 25286, "ts": 0, "args": {"name": "python"}}


def write_large_trace(path: Path, step: list[Event], size_bytes: int) -> int:
    """Write a trace of at least `size_bytes` in which `step` is repeated; the number of events in it."""
    once = [event for event in step if "cat" not in event]  # names of processes and threads
    again = [event for event in step if "cat" in event]
    times_ns = [_nanoseconds(event["ts"]) for event in again]
    period_ns = max(times_ns) - min(times_ns) + _GAP_NS
    correlations = 1 + max((event.get("args", {}).get("correlation", 0) for event in again), default=0)
    pieces = list(_pieces(again))
    repetitions = 0
    with path.open("w") as file:
        file.write(json.dumps(_HEADER, indent=2).removesuffix("\n}") + ',\n  "traceEvents": [\n')
        file.writelines(_rendered(event) + ",\n" for event in once)
        while repetitions == 0 or file.tell() < size_bytes:
            shifted = _filled(pieces, repetitions * period_ns, repetitions * correlations)
            file.write((",\n" if repetitions else "") + "".join(shifted))
            repetitions += 1
        file.write('\n  ],"traceName": "generated"\n}\n')
    return len(once) + repetitions * len(again)


def _pieces(events: list[Event]) -> Iterator[tuple[str, str | None, str | None]]:
    """The text of the events, each piece followed by a time (ns) or a correlation to be shifted."""
    text = ",\n".join(_rendered(_with_slots(event)) for event in events)
    end = 0
    for slot in _SLOT.finditer(text):
        yield text[end : slot.start()], slot[1], slot[2]
        end = slot.end()
    yield text[end:], None, None


def _filled(
    pieces: list[tuple[str, str | None, str | None]], time_ns: int, correlation: int
) -> Iterator[str]:
    for text, time, number in pieces:
        yield text
        if time is not None:
            microseconds, nanoseconds = divmod(int(time) + time_ns, 1000)
            yield f"{microseconds}.{nanoseconds:03d}"
        elif number is not None:
            yield str(int(number) + correlation)


def _with_slots(event: Event) -> Event:
    slotted = {**event, "ts": f"{_TIME}{_nanoseconds(event['ts'])}"}
    if event["cat"] == "ac2g":
        slotted["id"] = f"{_CORRELATION}{event['id']}"
    if "correlation" in event.get("args", {}):
        slotted["args"] = {**event["args"], "correlation": f"{_CORRELATION}{event['args']['correlation']}"}
    return slotted


def _rendered(event: Event) -> str:
    """An event as Kineto writes it: a key a line, the arguments on one."""
    lines = [f'    "{key}": {_json(value)}' for key, value in event.items() if key != "args"]
    if "args" in event:
        arguments = ", ".join(f'"{key}": {_json(value)}' for key, value in event["args"].items())
        lines.append(f'    "args": {{\n      {arguments}\n    }}')
    return "  {\n" + ",\n".join(lines) + "\n  }"


def _json(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def _nanoseconds(microseconds: Decimal | int) -> int:
    return int(microseconds * 1000)
