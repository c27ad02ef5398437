"""Whether a measurement on the CPU had the CPU to itself.

In: what the operating system counts, before and after some passes. Out: a `CpuUse`, and the sentences that
a reader of the times must know. Four rules, found by running a model beside 0 to 4 busy loops on two CPUs:

- Threads that were ready to run and had no CPU for a tenth of their time or more make times too long. Linux
  counts this waiting for each thread. Beside four busy loops it was 63 % for one computing thread (a pass
  took 3 to 4 times as long) and 67 % for two that spin while they wait for each other (4 to 27 times as
  long). Without busy loops it was 4 % at most.
- The cause is other programs only if they used at least half as much CPU time, on the CPUs that this process
  may use, as it waited for, and those CPUs were hardly idle. Otherwise no cause is named: the process may
  have more threads than CPUs, or a limit on its CPU time.
- Passes that neither computed nor waited for a CPU for a tenth of their time were held up by something else,
  such as the disk or the host of a virtual machine.
- Where none of this was seen, passes whose times differ by more than 1.2x make a rough median.

Limits: what shares the caches, the memory or the clock rate of a CPU is not seen, except by passes that
differ. CPU time of other programs is counted in steps of 10 ms, so they are not named for less than 50 ms of
it. On other systems than Linux only the last two rules work, and threads that spin look like threads that
compute.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

_NOTICEABLE = 0.1
_HARDLY_IDLE = 0.1
_LEAST_NAMED_S = 0.05
_ALIKE = 1.2
_ROUGH = "times are too long and shares are rough"

_THREADS = Path("/proc/self/task")
_CPU_TIMES = Path("/proc/stat")
_IDLE_COLUMNS = (3, 4)  # idle and waiting for the disk; the guests' columns are in those of users
_BUSY_COLUMNS = (0, 1, 2, 5, 6)


@dataclass(frozen=True)
class CpuUse:
    """What this process and others did with the CPUs during some passes.

    Attributes:
        wall_s: how long the passes took.
        cpu_s: CPU time of this process, all threads together.
        waited_s: time in which its threads were ready to run and had no CPU, all threads together; None
            where the system does not count it.
        others_s: CPU time of other programs on the CPUs that this process may use; None likewise.
        idle_s: time in which these CPUs were idle, summed over them; None likewise.
        cpus: how many CPUs this process may use.
        threads: how many threads torch computes with.
        load: the load average of a minute, before and after; None where the system has none.
    """

    wall_s: float
    cpu_s: float
    waited_s: float | None
    others_s: float | None
    idle_s: float | None
    cpus: int
    threads: int
    load: tuple[float, float] | None

    @property
    def waiting_share(self) -> float:
        """The share of its time that a thread was ready to run and had no CPU; 0 if that is not known."""
        return self.waited_s / (self.waited_s + self.cpu_s) if self.waited_s else 0.0

    @property
    def held_up_share(self) -> float:
        """The share of the passes in which the process neither computed nor waited for a CPU."""
        return max(0.0, 1 - (self.cpu_s + (self.waited_s or 0.0)) / self.wall_s) if self.wall_s else 0.0

    @property
    def others_had_the_cpu(self) -> bool:
        """Whether other programs are known to be what the process waited for."""
        if not self.waited_s or self.others_s is None or self.idle_s is None:
            return False
        return (
            self.others_s >= max(_LEAST_NAMED_S, self.waited_s / 2)
            and self.idle_s <= _HARDLY_IDLE * self.wall_s * self.cpus
        )


@dataclass(frozen=True)
class CpuCounters:
    """One reading of the counters; times in seconds since any moment.

    Attributes:
        wall_s: the clock.
        cpu_s: CPU time of this process.
        waited_s: waiting of each of its threads; None where the system does not count it.
        busy_s: CPU time of all programs on the CPUs that this process may use; None likewise.
        idle_s: idle time of these CPUs; None likewise.
        load: the load average of a minute; None where the system has none.
    """

    wall_s: float
    cpu_s: float
    waited_s: Mapping[str, float] | None
    busy_s: float | None
    idle_s: float | None
    load: float | None


def read_counters() -> CpuCounters:
    """The counters now."""
    busy_s, idle_s = _busy_and_idle_s(_allowed_cpus())
    return CpuCounters(
        wall_s=time.perf_counter(),
        cpu_s=time.process_time(),
        waited_s=_waited_s(),
        busy_s=busy_s,
        idle_s=idle_s,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


class CpuWatch:
    """Adds up what happens in its `with` blocks, of which there may be several.

    Args:
        read: reads the counters.
    """

    def __init__(self, read: Callable[[], CpuCounters] = read_counters) -> None:
        self._read = read
        self._blocks: list[tuple[CpuCounters, CpuCounters]] = []

    def __enter__(self) -> Self:
        self._start = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks.append((self._start, self._read()))

    def around(self, run: Callable[[], object]) -> Callable[[], object]:
        """A callable that runs `run` in a block."""

        def watched() -> object:
            with self:
                return run()

        return watched

    @property
    def use(self) -> CpuUse:
        """The sums over all blocks; there must be one at least."""
        blocks = self._blocks
        cpu_s = sum(end.cpu_s - start.cpu_s for start, end in blocks)
        busy_s = _sum_known([_difference(start.busy_s, end.busy_s) for start, end in blocks])
        loads = blocks[0][0].load, blocks[-1][1].load
        return CpuUse(
            wall_s=sum(end.wall_s - start.wall_s for start, end in blocks),
            cpu_s=cpu_s,
            waited_s=_sum_known([_waited_between(start, end) for start, end in blocks]),
            others_s=None if busy_s is None else max(0.0, busy_s - cpu_s),
            idle_s=_sum_known([_difference(start.idle_s, end.idle_s) for start, end in blocks]),
            cpus=len(_allowed_cpus()),
            threads=torch.get_num_threads(),
            load=None if loads[0] is None or loads[1] is None else (loads[0], loads[1]),
        )


def cautions(uses: Sequence[CpuUse], latency_ms: Sequence[float]) -> tuple[str, ...]:
    """What a reader of the times must know: nothing if nothing disturbed them.

    Args:
        uses: of the passes without the profiler, and of those with it.
        latency_ms: each pass without the profiler.
    """
    worst = max(uses, key=lambda use: use.waiting_share)
    if worst.waiting_share >= _NOTICEABLE:
        share = f"about {round(worst.waiting_share, 1):.0%} of the time"
        if worst.others_had_the_cpu:
            return (f"Another program had the CPU: the passes waited for it {share}, so {_ROUGH}.",)
        return (f"The passes{_thread_count(worst)} waited for a CPU {share}: {_ROUGH}.",)
    held_up = max(uses, key=lambda use: use.held_up_share)
    if held_up.held_up_share >= _NOTICEABLE:
        share = f"{round(held_up.cpu_s / held_up.wall_s, 1):.0%}"
        return (f"The passes had a CPU for only about {share} of their time{_high_load(held_up)}: {_ROUGH}.",)
    if latency_ms and max(latency_ms) > _ALIKE * min(latency_ms):
        load = _high_load(uses[0])
        return (f"Passes without the profiler differ by more than {_ALIKE}x{load}: their median is rough.",)
    return ()


def _thread_count(use: CpuUse) -> str:
    """Where torch has more threads than CPUs, that fact."""
    return f", {use.threads} threads on {_cpus(use)}," if use.threads > use.cpus else ""


def _high_load(use: CpuUse) -> str:
    """Where the load was above the number of CPUs, before the passes and after, that fact."""
    if use.load is None or min(use.load) <= use.cpus:
        return ""
    return f" (the load was {max(use.load):.1f} on {_cpus(use)})"


def _cpus(use: CpuUse) -> str:
    return f"{use.cpus} CPU{'s' if use.cpus > 1 else ''}"


def _allowed_cpus() -> frozenset[int]:
    """The CPUs that this process may use; all where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _waited_s() -> dict[str, float] | None:
    """For each thread of this process how long it was ready to run and had no CPU."""
    ran_ns, waited_s = 0, {}
    for schedstat in _THREADS.glob("*/schedstat"):
        try:
            ran, waited, _ = schedstat.read_text(encoding="ascii").split()
        except OSError:  # the thread has ended
            continue
        ran_ns += int(ran)
        waited_s[schedstat.parent.name] = int(waited) / 1e9
    return waited_s if ran_ns else None  # kernels that do not count say 0


def _busy_and_idle_s(cpus: frozenset[int]) -> tuple[float | None, float | None]:
    """How long the CPUs have been busy and idle, summed over them."""
    busy = idle = 0
    try:
        for line in _CPU_TIMES.read_text(encoding="ascii").splitlines():
            name, *columns = line.split()
            if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cpus:
                busy += sum(int(columns[column]) for column in _BUSY_COLUMNS)
                idle += sum(int(columns[column]) for column in _IDLE_COLUMNS)
        ticks_per_s = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None, None
    return busy / ticks_per_s, idle / ticks_per_s


def _waited_between(start: CpuCounters, end: CpuCounters) -> float | None:
    """The waiting of all threads in between; a thread that began then counts from its start."""
    if start.waited_s is None or end.waited_s is None:
        return None
    return sum(after - start.waited_s.get(thread, 0.0) for thread, after in end.waited_s.items())


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _sum_known(values: Sequence[float | None]) -> float | None:
    """The sum; None if a value is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
