import os
import subprocess
import sys
import time

import pytest

from perfmamba.profiling.contention import CpuCounters, CpuUse, CpuWatch, cautions, read_counters

ROUGH = "times are too long and shares are rough."
BUSY_LOOP = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print("pinned", flush=True)
while True:
    pass
"""


def use(**changed) -> CpuUse:
    """Ten seconds of one thread that had one of two CPUs to itself."""
    undisturbed = {
        "wall_s": 10.0,
        "cpu_s": 9.9,
        "waited_s": 0.1,
        "others_s": 1.0,
        "idle_s": 9.0,
        "cpus": 2,
        "threads": 1,
        "load": (1.0, 1.0),
    }
    return CpuUse(**undisturbed | changed)


BESIDE_OTHERS = {"cpu_s": 4.0, "waited_s": 6.0, "others_s": 16.0, "idle_s": 0.0, "load": (5.0, 5.1)}


def watched(*readings: CpuCounters) -> CpuWatch:
    watch = CpuWatch(iter(readings).__next__)
    for _ in readings[::2]:
        with watch:
            pass
    return watch


def counters(wall_s, cpu_s, waited_s, *, busy_s=0.0, idle_s=0.0, load=0.5) -> CpuCounters:
    return CpuCounters(wall_s, cpu_s, waited_s, busy_s, idle_s, load)


def test_blocks_add_up():
    watch = watched(
        counters(100.0, 7.0, {"1": 1.0, "2": 2.0}, busy_s=50.0, idle_s=30.0),
        counters(101.0, 8.0, {"1": 1.25, "2": 2.0}, busy_s=51.5, idle_s=30.5),
        counters(200.0, 9.0, {"1": 4.0, "2": 2.0}, busy_s=80.0, idle_s=40.0),
        counters(204.0, 12.0, {"1": 4.5, "2": 2.5, "3": 0.25}, busy_s=87.0, idle_s=41.0, load=2.5),
    )
    total = watch.use
    assert (total.wall_s, total.cpu_s, total.load) == (5.0, 4.0, (0.5, 2.5))
    assert total.waited_s == 0.25 + 0.5 + 0.5 + 0.25  # the third thread began in the second block
    assert (total.others_s, total.idle_s) == (8.5 - 4.0, 1.5)


def test_what_a_system_does_not_count_stays_unknown():
    start = CpuCounters(0.0, 0.0, None, None, None, None)
    total = watched(start, CpuCounters(2.0, 1.0, None, None, None, None)).use
    assert (total.waited_s, total.others_s, total.idle_s, total.load) == (None,) * 4
    assert total.waiting_share == 0
    assert total.held_up_share == 0.5


def test_a_watched_callable_is_the_callable():
    watch = CpuWatch(iter([counters(0.0, 0.0, {}), counters(1.0, 1.0, {})]).__next__)
    assert watch.around(lambda: "result")() == "result"
    assert watch.use.wall_s == 1


def test_nothing_is_said_of_a_cpu_to_itself():
    assert cautions([use(), use()], [100.0, 110.0, 119.0]) == ()
    spinning = use(threads=2, cpu_s=19.5, waited_s=0.2, others_s=0.3, idle_s=0.0)
    assert cautions([spinning, spinning], [100.0]) == ()


def test_other_programs_are_named_where_they_had_the_cpu():
    said = f"Another program had the CPU: the passes waited for it about 60% of the time, so {ROUGH}"
    assert cautions([use(), use(**BESIDE_OTHERS)], [100.0]) == (said,)
    assert cautions([use(**BESIDE_OTHERS), use()], [100.0]) == (said,)


@pytest.mark.parametrize(
    "changed",
    [
        {"others_s": 2.0},  # not enough to wait for
        {"idle_s": 5.0},  # they could have had another CPU: perhaps a limit of the container
        {"others_s": None},
        {"idle_s": None},
    ],
)
def test_no_cause_is_named_that_is_not_known(changed):
    (said,) = cautions([use(), use(**BESIDE_OTHERS | changed)], [100.0])
    assert said == f"The passes waited for a CPU about 60% of the time: {ROUGH}"


def test_times_below_the_steps_of_the_counters_name_nobody():
    short = use(wall_s=0.06, cpu_s=0.03, waited_s=0.03, others_s=0.04, idle_s=0.0)
    (said,) = cautions([short], [100.0])
    assert said.startswith("The passes waited for a CPU about 50% of the time")


def test_more_threads_than_cpus_are_said_with_the_waiting_they_cause():
    four = use(threads=4, cpu_s=14.0, waited_s=7.0, others_s=0.0, idle_s=5.0)
    (said,) = cautions([four], [100.0])
    assert said == f"The passes, 4 threads on 2 CPUs, waited for a CPU about 30% of the time: {ROUGH}"


def test_without_counts_of_waiting_the_cpu_time_is_held_against_the_clock():
    unknown = {"waited_s": None, "others_s": None, "idle_s": None}
    assert cautions([use(**unknown)], [100.0]) == ()
    (said,) = cautions([use(**unknown, cpu_s=4.0)], [100.0])
    assert said == f"The passes had a CPU for only about 40% of their time: {ROUGH}"
    (said,) = cautions([use(**unknown, cpu_s=4.0, load=(6.0, 6.24))], [100.0])
    assert "of their time (the load was 6.2 on 2 CPUs): " in said


def test_passes_that_differ_are_said_last():
    assert cautions([use()], [100.0, 120.0]) == ()
    said = "Passes without the profiler differ by more than 1.2x: their median is rough."
    assert cautions([use()], [100.0, 121.0]) == (said,)
    assert cautions([use(**BESIDE_OTHERS)], [100.0, 300.0])[0].startswith("Another program")


def test_counters_only_grow():
    before, after = read_counters(), read_counters()
    assert after.wall_s > before.wall_s
    assert after.cpu_s >= before.cpu_s
    for name in ("busy_s", "idle_s"):
        first, second = getattr(before, name), getattr(after, name)
        assert (first is None and second is None) or second >= first


def test_linux_counters_are_read_as_documented(tmp_path, monkeypatch):
    monkeypatch.setattr("perfmamba.profiling.contention._THREADS", tmp_path)
    monkeypatch.setattr("perfmamba.profiling.contention._CPU_TIMES", tmp_path / "stat")
    monkeypatch.setattr("perfmamba.profiling.contention._allowed_cpus", lambda: frozenset({0, 2}))
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    for thread, text in (("11", "5000 2500000000 3"), ("12", "7000 1000000000 1")):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(text)
    # user nice system idle iowait irq softirq steal guest guest_nice
    rows = ["cpu 9 9 9 9 9 9 9 9 9 9", "cpu0 100 20 30 400 50 6 4 7 8 9", "cpu1 1 1 1 1 1 1 1 1 1 1"]
    (tmp_path / "stat").write_text("\n".join([*rows, "cpu2 40 0 0 50 0 0 0 0 0 0", "intr 1 2", ""]))
    read = read_counters()
    assert read.waited_s == {"11": 2.5, "12": 1.0}
    assert (read.busy_s, read.idle_s) == (2.0, 5.0)


def test_kernels_that_count_nothing_are_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr("perfmamba.profiling.contention._THREADS", tmp_path)
    monkeypatch.setattr("perfmamba.profiling.contention._CPU_TIMES", tmp_path / "missing")
    assert read_counters().waited_s is None
    (tmp_path / "11").mkdir()
    (tmp_path / "11" / "schedstat").write_text("0 0 0")
    read = read_counters()
    assert (read.waited_s, read.busy_s, read.idle_s) == (None, None, None)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPUs cannot be chosen on this system")
def test_a_program_on_the_same_cpu_is_seen_and_named():
    if read_counters().waited_s is None:
        pytest.skip("this kernel does not count how long threads wait")
    allowed = os.sched_getaffinity(0)
    shared = min(allowed)
    with subprocess.Popen(
        [sys.executable, "-c", BUSY_LOOP, str(shared)], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout.readline() == "pinned\n"
            os.sched_setaffinity(0, {shared})
            with CpuWatch() as watch:
                compute_for(0.5)
        finally:
            os.sched_setaffinity(0, allowed)
            other.kill()
    assert watch.use.waiting_share > 0.25  # half of the CPU, or less where there are yet other programs
    assert cautions([watch.use], [1.0])[0].startswith("Another program had the CPU")


def compute_for(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass
