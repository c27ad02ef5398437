"""A breakdown of a trace by json.load and plain loops: slow, short, and sharing no code with the package.

Ranges are found by walking through time with a list of those that are open, where the package searches
sorted arrays. Labels of costs are (name, layer).
"""

import gzip
import json
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

KERNELS = {"kernel", "gpu_memcpy", "gpu_memset", "Kernel", "Memcpy", "Memset"}
CALLS = {"cuda_runtime", "cuda_driver", "Runtime"}
OPS = {"cpu_op", "Operator"}
COMPONENT = re.compile(r"perfmamba::layer(-?\d+)::(norm|in_proj|conv|ssm|out_proj)")


def load(path):
    data = Path(path).read_bytes()
    text = gzip.decompress(data) if str(path).endswith(".gz") else data
    trace = json.loads(text, parse_float=Decimal)
    return trace if isinstance(trace, list) else trace["traceEvents"]


def ns(microseconds):
    return int(Decimal(microseconds) * 1000)


def thread(event):
    return str(event["pid"]), str(event["tid"])


class Range:
    def __init__(self, event, position, label=None):
        self.start = ns(event["ts"])
        self.end = self.start + ns(event.get("dur", 0))
        self.key = (self.start, -self.end, position)
        self.thread = thread(event)
        self.label = label


def innermost(ranges, moments):
    """For (thread, time) moments the range that began last of those that hold it, or None."""
    answers = [None] * len(moments)
    for its_thread in {moment[0] for moment in moments}:
        points = [(r.start, 0, r) for r in ranges if r.thread == its_thread]
        points += [(time, 1, i) for i, (other, time) in enumerate(moments) if other == its_thread]
        opened = []
        for time, is_moment, thing in sorted(points, key=lambda point: point[:2]):
            opened = [r for r in opened if r.end >= time]
            if is_moment:
                answers[thing] = max(opened, key=lambda r: r.key, default=None)
            else:
                opened.append(thing)
    return answers


def parents(ranges):
    """For each range the one that began last of those that it began in, before that one's end."""
    found = {}
    for its_thread in {r.thread for r in ranges}:
        opened = []
        for r in sorted((r for r in ranges if r.thread == its_thread), key=lambda r: r.key):
            opened = [o for o in opened if o.end > r.start]
            found[r] = opened[-1] if opened else None
            opened.append(r)
    return found


def choose(events, by):
    """The ranges that own cost."""
    of = defaultdict(list)
    for position, event in enumerate(events):
        category = event.get("cat")
        of["op" if category in OPS else category].append((position, event))
    if by in ("op", "kernel"):
        return [Range(e, i, (e["name"], None)) for i, e in of["op"]]
    notes = [(i, e) for i, e in of["user_annotation"] if not e["name"].startswith("ProfilerStep#")]
    ours = [Range(e, i, our_label(e["name"], by)) for i, e in notes if our_label(e["name"], by)]
    if ours:
        return ours
    if notes:
        return [Range(e, i, (e["name"], None)) for i, e in notes]
    modules = [(i, e) for i, e in of["python_function"] if e["name"].startswith("nn.Module: ")]
    if modules:
        number = r"_\d+$" if by == "component" else "$"
        return [Range(e, i, (re.sub(number, "", e["name"][len("nn.Module: ") :]), None)) for i, e in modules]
    ops = [Range(e, i, (e["name"], None)) for i, e in of["op"] if not e["name"].startswith("ProfilerStep#")]
    outer = parents(ops)
    return [op for op in ops if outer[op] is None]


def our_label(name, by):
    match = COMPONENT.fullmatch(name)
    if match:
        return match[2], int(match[1]) if by == "layer" else None
    return ("other", None) if name == "perfmamba::model" else None


def work_of(events, by, ranges):
    """(label, start, end, time) of each kernel, or without kernels of each operator."""
    kernels = [e for e in events if e.get("cat") in KERNELS]
    if not kernels:
        ops = [Range(e, i, (e["name"], None)) for i, e in enumerate(events) if e.get("cat") in OPS]
        self_time = {op: op.end - op.start for op in ops}
        for op, parent in parents(ops).items():
            if parent is not None:
                self_time[parent] -= min(op.end, parent.end) - op.start
        owners = innermost(ranges, [(op.thread, op.start) for op in ops])
        if by in ("op", "kernel"):
            owners = ops
        return [(o and o.label, op.start, op.end, self_time[op]) for op, o in zip(ops, owners, strict=True)]
    launch, processes = {}, {}
    for e in events:
        if e.get("cat") in CALLS and e.get("args", {}).get("correlation", -1) > 0:
            launch.setdefault(e["args"]["correlation"], (thread(e), ns(e["ts"])))
            processes.setdefault(e["args"]["correlation"], set()).add(e["pid"])
    for correlation, its_processes in processes.items():
        if len(its_processes) > 1:
            del launch[correlation]
    moments = [launch.get(k["args"].get("correlation"), (None, 0)) for k in kernels]
    owners = innermost(ranges, moments)
    labels = [
        (k["name"], None) if by == "kernel" else o and o.label for k, o in zip(kernels, owners, strict=True)
    ]
    times = [(ns(k["ts"]), ns(k["ts"]) + ns(k["dur"]), ns(k["dur"])) for k in kernels]
    return [(label, *time) for label, time in zip(labels, times, strict=True)]


def memory_of(events, by, ranges):
    """(label, bytes, live, growth, growth in the window, escaped, never freed) of each memory event."""
    on_gpu = any(e.get("cat") in KERNELS for e in events)
    found = [e for e in events if e.get("name") == "[memory]" and (e["args"]["Device Type"] != 0) == on_gpu]
    found.sort(key=lambda e: ns(e["ts"]))
    if on_gpu and by == "kernel":
        ranges = []
    owners = innermost(ranges, [(thread(e), ns(e["ts"])) for e in found])
    has_totals = all(e["args"].get("Total Allocated", -1) >= 0 for e in found)
    has_addresses = all(e["args"].get("Addr") for e in found)
    first, live, levels, blocks, rows = {}, defaultdict(int), defaultdict(list), {}, []
    for e, owner in zip(found, owners, strict=True):
        args, time = e["args"], ns(e["ts"])
        device, size = (args["Device Type"], args["Device Id"]), args["Bytes"]
        live[device] = args["Total Allocated"] if has_totals else live[device] + size
        first.setdefault(device, live[device] - size)
        before = [level for then, level in levels[device] if owner and then < owner.start]
        entry = before[-1] if before else first[device]
        levels[device].append((time, live[device]))
        label = owner and owner.label
        row = [label, size, live[device], live[device] - entry, live[device] - first[device], True, True]
        block = (device, args.get("Addr"))
        if size > 0:
            blocks[block] = (row, owner)
        elif block in blocks and size < 0:
            made, maker = blocks.pop(block)
            made[5:] = [maker is not owner, False]
        rows.append(row)
    return rows, has_addresses


def union(intervals):
    covered, until = 0, None
    for start, end in sorted(intervals):
        if until is None or start > until:
            covered, until = covered + end - start, end
        elif end > until:
            covered, until = covered + end - until, end
    return covered


def naive_breakdown(events, by):
    """{label: (launches, time, union, allocated, freed, peak, growth, escaped)}, and the total's tuple.

    The label of what is outside every range is None.
    """
    ranges = choose(events, by)
    work = work_of(events, by, ranges)
    memory, has_addresses = memory_of(events, by, ranges)

    def cost(items, blocks, growth, escaped):
        made = [block for block in blocks if block[1] > 0]
        return (
            len(items),
            sum(item[3] for item in items),
            union([item[1:3] for item in items]),
            sum(block[1] for block in made),
            -sum(block[1] for block in blocks if block[1] < 0),
            max((block[2] for block in made), default=0),
            max(0, *(block[growth] for block in made), 0),
            sum(block[1] for block in made if block[escaped]) if has_addresses else None,
        )

    labels = {item[0] for item in work} | {block[0] for block in memory}
    rows = {}
    for label in labels:
        own_blocks = [block for block in memory if block[0] == label]
        rows[label] = cost([item for item in work if item[0] == label], own_blocks, 3, 5)
    return rows, cost(work, memory, 4, 6)
