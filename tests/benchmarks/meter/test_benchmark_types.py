"""The benchmark types as asv_runner drives them; test_asv_runs.py has asv itself run them."""

import itertools
import json
import math
import statistics
import types

import pytest
import torch
from asv_runner import benchmarks as asv_types
from asv_runner.benchmarks.mark import SkipNotImplemented

from benchmarks.meter import cell, nvml_types
from benchmarks.meter.benchmark_types import CudaTime, DeviceMemory, cuda_only, register
from benchmarks.meter.memory import peak_probe
from benchmarks.meter.notes import NOTES_VARIABLE
from benchmarks.meter.nvml import Throttle
from benchmarks.meter.nvml_errors import DriverNotLoadedError
from benchmarks.meter.nvml_types import Energy, NvmlMemory, calls_in
from benchmarks.meter.paired_type import Holding, Paired
from benchmarks.meter.pairs import STORE_VARIABLE

MIB = 2**20
QUICK = {"repeat": 1, "number": 1, "warmup_time": 0.0, "rounds": 1}
"""What `asv run --quick` overrides."""


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """On the processor, with no notes and no store of whoever runs the tests."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    peak_probe()  # before a test allocates, as its docstring asks
    monkeypatch.delenv(NOTES_VARIABLE, raising=False)
    monkeypatch.delenv(STORE_VARIABLE, raising=False)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Reads the notes written so far."""
    path = tmp_path / "notes.jsonl"
    path.touch()
    monkeypatch.setenv(NOTES_VARIABLE, str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def made(kind, suite, method, index=0, **overrides):
    """A benchmark as asv_runner's discovery makes it, for one cell, with the command line's overrides."""
    instance = suite()
    function = getattr(instance, method)
    benchmark = kind(f"suite.{suite.__name__}.{method}", function, [function, instance])
    benchmark._attr_sources.insert(0, types.SimpleNamespace(**overrides))
    benchmark.set_param_idx(index)
    benchmark.set_cache(None)
    return benchmark


def run(benchmark):
    """What asv_runner's run of one cell gives to asv."""
    if benchmark.do_setup():
        return math.nan
    try:
        return benchmark.do_run()
    except SkipNotImplemented:
        return math.nan
    finally:
        benchmark.do_teardown()


class Suite:
    params = ([1, 3], ["a", "b"])
    param_names = ("calls", "letter")
    repeat = (6, 30, 1.0)
    paper = "table1"

    def setup(self, calls, letter):
        self.made = getattr(self, "made", [])
        self.made.append(f"setup {calls} {letter}")

    def teardown(self, *_cell):
        self.made.append("teardown")

    def cudatime_x(self, calls, letter):
        self.made.append(f"call {calls} {letter}")

    def devicemem_x(self, calls, _letter):
        torch.ones(calls * 8 * MIB, dtype=torch.int8)


def history(benchmark):
    return [event for event, _ in itertools.groupby(benchmark.func.__self__.made)]


def test_a_cell_is_set_up_once_sampled_and_torn_down(notes):
    benchmark = made(CudaTime, Suite, "cudatime_x", index=3)
    result = run(benchmark)
    assert history(benchmark) == ["setup 3 b", "call 3 b", "teardown"]
    assert result["number"] == 1
    assert 6 <= len(result["samples"]) <= 30
    assert 0 < statistics.median(result["samples"]) < 1e-3
    assert notes() == [
        {
            "kind": "cell",
            "benchmark": "suite.Suite.cudatime_x",
            "params": ["3", "'b'"],
            "device": "cpu",
            "threads": torch.get_num_threads(),
            "l2": "hot",
            "clock": "perf_counter",
            "iterations": len(result["samples"]),
            "throttle": [],
            "marked": False,
            "sm_mhz": None,
        }
    ]


def test_quick_is_one_call_and_one_sample():
    benchmark = made(CudaTime, Suite, "cudatime_x", **QUICK)
    assert len(run(benchmark)["samples"]) == 1
    assert benchmark.func.__self__.made.count("call 1 a") == 1


def test_a_number_of_repeats_is_taken_at_its_word():
    benchmark = made(CudaTime, Suite, "cudatime_x", repeat=17, warmup_time=0)
    assert len(run(benchmark)["samples"]) == 17


def test_asv_s_metadata_say_what_the_numbers_are():
    public = {
        name: value for name, value in vars(made(CudaTime, Suite, "cudatime_x")).items() if name[0] != "_"
    }
    assert {
        "type": "cudatime",
        "unit": "seconds",
        "less_is_better": True,
        "paper": "table1",
        "rounds": 1,
        "param_names": ["calls", "letter"],
    }.items() <= public.items()
    assert made(DeviceMemory, Suite, "devicemem_x").unit == "bytes"


def test_memory_is_the_growth_on_a_processor(notes):
    result = run(made(DeviceMemory, Suite, "devicemem_x", index=2))
    if not isinstance(result, dict):
        pytest.skip(notes()[0]["reason"])
    assert statistics.median(result["samples"]) == pytest.approx(24 * MIB, abs=MIB)
    (note,) = notes()
    assert note["growth_bytes"] == result["samples"][-1]
    assert note["total_bytes"] > note["growth_bytes"]
    assert note["clock"] == "resident memory"


@pytest.mark.parametrize("place", ["setup", "cudatime_x"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), MemoryError()])
def test_too_little_memory_is_no_failure(notes, monkeypatch, place, error):
    emptied = []
    monkeypatch.setattr(cell, "release", lambda: emptied.append(1))

    class TooLarge(Suite):
        pass

    def fail(*_):
        raise error

    setattr(TooLarge, place, fail)
    assert math.isnan(run(made(CudaTime, TooLarge, "cudatime_x")))
    reason = "CUDA out of memory." if str(error) else "MemoryError"
    assert notes() == [
        {
            "kind": "skipped",
            "benchmark": "suite.TooLarge.cudatime_x",
            "params": ["1", "'a'"],
            "reason": f"out of memory: {reason}",
        }
    ]
    assert emptied == [1]


def test_a_real_tensor_that_does_not_fit_is_n_a(notes):
    class TooLarge:
        def cudatime_x(self):
            torch.empty(10**15)

    instance = TooLarge()
    benchmark = CudaTime("suite.cudatime_x", instance.cudatime_x, [instance])
    assert math.isnan(run(benchmark))
    assert "can't allocate memory" in notes()[0]["reason"]
    assert notes()[0]["params"] == []


def test_what_a_setup_lacks_is_the_reason(notes, capsys):
    class Lacking(Suite):
        def setup(self, *_cell):
            raise NotImplementedError("this commit has no kernels")

    assert math.isnan(run(made(CudaTime, Lacking, "cudatime_x")))
    assert notes()[0]["reason"] == "this commit has no kernels"
    assert capsys.readouterr().out == "n/a: this commit has no kernels\n"


def test_an_error_of_the_benchmark_stays_a_failure():
    class Broken(Suite):
        def cudatime_x(self, *_cell):
            raise NotImplementedError("no kernel for this type")

    with pytest.raises(NotImplementedError, match="no kernel"):
        run(made(CudaTime, Broken, "cudatime_x"))


def test_skipped_parameters_are_neither_set_up_nor_noted(notes):
    class Skipping(Suite):
        skip_params = ((1, "a"),)

    benchmark = made(CudaTime, Skipping, "cudatime_x")
    assert benchmark.do_setup()
    assert not hasattr(benchmark.func.__self__, "made")
    assert notes() == []


@pytest.mark.parametrize(
    ("values", "kept"), [([math.nan, 2.0, math.inf, 4.0], [2.0, 4.0]), ([math.nan, math.inf], [])]
)
def test_what_is_not_finite_never_reaches_asv(notes, monkeypatch, values, kept):
    monkeypatch.setattr(CudaTime, "take", lambda *_: values)
    result = run(made(CudaTime, Suite, "cudatime_x"))
    if kept:
        assert result == {"samples": kept, "number": 1}
    else:
        assert math.isnan(result)
        assert notes()[0]["reason"] == "no sample is a finite number"


class FakeGpu:
    """A device of `nvml` that is slowed down by heat the second time it is looked at."""

    available = True

    def __init__(self):
        self.answers = iter([Throttle.IDLE, Throttle.HW_THERMAL, None])
        self.clocks = iter([1410, 1100, None])

    def throttle(self):
        return next(self.answers)

    def sm_clock_mhz(self):
        return next(self.clocks)


@pytest.fixture
def fake_clock(monkeypatch):
    """A GPU, and a clock that looks at it at each call; gives what the clock was asked for."""
    monkeypatch.setattr(cell, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cell, "open_cuda_device", lambda _index, missing: missing == "null" and FakeGpu())
    asked = []

    def clock(l2, look, queue):
        asked.append((l2, queue))
        return types.SimpleNamespace(
            name="fake",
            l2=l2,
            batch=3,
            launches={"queue": queue, "host_bound": True},
            seconds=lambda calls: [look() or 1.0 for _ in calls],
        )

    monkeypatch.setattr(cell, "clock", clock)
    return asked


@pytest.mark.usefixtures("fake_clock")
def test_a_cell_measured_while_the_gpu_was_too_hot_is_marked(notes):
    run(made(CudaTime, Suite, "cudatime_x", repeat=3, warmup_time=0, l2="hot"))
    (note,) = notes()
    assert (note["marked"], note["throttle"], note["l2"]) == (True, ["idle", "hw thermal"], "hot")


@pytest.mark.parametrize(("kind", "method"), [(CudaTime, "cudatime_x"), (Paired, "paired_x")])
def test_a_cell_notes_the_clock_and_how_calls_got_to_the_gpu(notes, fake_clock, kind, method):
    class Queued(Suite if kind is CudaTime else Variants):
        queue = "full"

        def paired_x(self, _size):
            return {0: lambda: None}

    run(made(kind, Queued, method, repeat=3, warmup_time=0))
    (note,) = notes()
    assert fake_clock == [("cold", "full")]
    assert (note["queue"], note["host_bound"], note["sm_mhz"]) == ("full", True, [1100, 1410])


def test_a_driver_that_fails_to_tell_costs_no_number(monkeypatch):
    def gone():
        raise DriverNotLoadedError("throttle reasons")

    monkeypatch.setattr(cell, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cell, "open_cuda_device", lambda *_, **__: types.SimpleNamespace(throttle=gone))
    watch = cell.ThrottleWatch()
    watch.look()
    watch.look()
    assert watch.seen == Throttle(0)


class Variants:
    params = ([10, 20], [0, 0.5, 0.9])
    param_names = ("size", "ratio")
    variant = "ratio"
    baseline = 0
    repeat = (6, 40, 0.2)
    groups = ()

    def setup(self, size):
        self.size = size

    def paired_x(self, size):
        type(self).groups += (size,)
        assert self.size == size
        return {0: lambda: sum(range(size * 200)), 0.5: lambda: sum(range(size * 50)), 0.9: self.no_room}

    def no_room(self):
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.fixture
def store(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    monkeypatch.setenv(STORE_VARIABLE, str(folder))
    monkeypatch.setattr(Variants, "groups", ())
    return folder


def test_the_first_cell_of_a_group_measures_and_the_others_look_up(store, notes):
    first, second, third = (run(made(Paired, Variants, "paired_x", index)) for index in (4, 3, 5))
    assert Variants.groups == (20,)
    assert statistics.median(first["samples"]) < statistics.median(second["samples"])
    assert len(first["samples"]) == len(second["samples"])
    assert math.isnan(third)
    pair, *others = [note for note in notes() if note["kind"] == "pair"]
    assert others == []
    assert (pair["params"], pair["variant_axis"], pair["baseline"], pair["variant"]) == (
        ["20", "0.5"],
        "ratio",
        "0",
        "0.5",
    )
    assert 0 < pair["low"] <= pair["ratio"] <= pair["high"] < 1
    assert (pair["measure"], pair["confidence"], pair["verdict"]) == ("time", 0.99, "faster")
    assert [(note["kind"], note["params"]) for note in notes() if note["kind"] != "pair"] == [
        ("cell", ["20", "0.5"]),
        ("cell", ["20", "0"]),
        ("skipped", ["20", "0.9"]),
    ]
    assert list(store.iterdir()) == []


def no_room_to_build():
    raise torch.OutOfMemoryError("CUDA out of memory.")


def no_room_together():
    """A call that fits alone, but not after another."""
    return {0: lambda: None, 0.5: fails_every_other_time(), 0.9: lambda: None}


def fails_every_other_time():
    failing = itertools.cycle([True, False])

    def call():
        if next(failing):
            no_room_to_build()

    return call


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("offered", [no_room_to_build, no_room_together])
def test_a_group_that_does_not_fit_is_tried_once(notes, offered):
    class TooLarge(Variants):
        def paired_x(self, size):
            Variants.groups += (size,)
            return offered()

    for index in (3, 4, 5):
        assert math.isnan(run(made(Paired, TooLarge, "paired_x", index)))
    assert Variants.groups == (20,)
    assert [(note["kind"], note["params"], note["reason"]) for note in notes()] == [
        ("skipped", ["20", ratio], "out of memory: CUDA out of memory.") for ratio in ("0", "0.5", "0.9")
    ]


@pytest.mark.usefixtures("store")
def test_an_error_of_a_group_stays_a_failure_of_each_cell():
    class Broken(Variants):
        def paired_x(self, size):
            Variants.groups += (size,)
            raise RuntimeError("no kernel for this type")

    for index in (3, 4):
        with pytest.raises(RuntimeError, match="no kernel"):
            run(made(Paired, Broken, "paired_x", index))
    assert Variants.groups == (20, 20)


@pytest.mark.usefixtures("store")
def test_another_group_another_version_and_a_second_round_measure_anew():
    class Rewritten(Variants):
        version = "2"

    def measure(suite, index):
        benchmark = made(Paired, suite, "paired_x", index, **QUICK)
        benchmark.name = "suite.Variants.paired_x"
        return run(benchmark)

    for suite, index in ((Variants, 0), (Variants, 3), (Variants, 0), (Variants, 4)):
        measure(suite, index)
    assert Variants.groups == (10, 20, 10)
    measure(Rewritten, 1)
    assert Rewritten.groups == (10, 20, 10, 10)


def test_without_a_store_each_cell_measures(monkeypatch):
    monkeypatch.setattr(Variants, "groups", ())
    for index in (0, 1):
        assert len(run(made(Paired, Variants, "paired_x", index, **QUICK))["samples"]) == 1
    assert Variants.groups == (10, 10)


def test_memory_is_compared_by_growth(notes):
    class Sizes(Variants):
        measure = "memory"
        repeat = (6, 12, 1.0)

        def paired_x(self, size):
            return {
                ratio: lambda ratio=ratio: torch.ones(int(size * MIB * (1 - ratio)), dtype=torch.int8)
                for ratio in (0, 0.5)
            }

    benchmark = made(Paired, Sizes, "paired_x", 4)
    assert benchmark.unit == "bytes"
    result = run(benchmark)
    if not isinstance(result, dict):
        pytest.skip(notes()[0]["reason"])
    assert statistics.median(result["samples"]) == pytest.approx(10 * MIB, abs=MIB)
    pair = next(note for note in notes() if note["kind"] == "pair")
    assert (pair["measure"], pair["verdict"]) == ("memory", "smaller")
    assert pair["ratio"] == pytest.approx(0.5, abs=0.05)


def test_memory_that_a_variant_holds_counts_with_its_growth(notes):
    class Held(Variants):
        measure = "memory"
        repeat = (6, 12, 1.0)

        def paired_x(self, size):
            return {ratio: Holding(lambda: None, int(size * MIB * (1 - ratio))) for ratio in (0, 0.5)}

    result = run(made(Paired, Held, "paired_x", 4))
    if not isinstance(result, dict):
        pytest.skip(notes()[0]["reason"])
    assert statistics.median(result["samples"]) == pytest.approx(10 * MIB, abs=MIB)


def test_a_variant_that_is_not_offered_is_n_a(notes):
    class Fewer(Variants):
        def paired_x(self, _size):
            return {0: lambda: None}

    assert math.isnan(run(made(Paired, Fewer, "paired_x", 1, **QUICK)))
    assert notes()[0]["reason"] == "the benchmark offers no ratio 0.5"


def test_a_variant_that_is_no_parameter_is_an_error():
    class Other(Variants):
        def paired_x(self, _size):
            return {"dense": lambda: None}

    with pytest.raises(ValueError, match=r"variants that are no values of ratio: \['dense'\]"):
        run(made(Paired, Other, "paired_x"))


@pytest.mark.parametrize(
    ("attribute", "value", "complaint"),
    [
        ("variant", "seqlen", r"variant is 'seqlen', but the parameters are \['size', 'ratio'\]"),
        ("baseline", 0.1, r"baseline is 0\.1, but ratio is one of \[0, 0\.5, 0\.9\]"),
        ("measure", "energy", r"measure is 'energy', but must be one of \['time', 'memory'\]"),
    ],
)
def test_a_suite_that_contradicts_itself_is_told_at_once(attribute, value, complaint):
    contradicting = type("Contradicting", (Variants,), {attribute: value})
    with pytest.raises(ValueError, match=complaint):
        made(Paired, contradicting, "paired_x")


def test_asv_check_knows_that_the_variant_is_no_argument(tmp_path):
    assert made(Paired, Variants, "paired_x").check(tmp_path)

    class TooMany(Variants):
        def paired_x(self, _size, _ratio):
            return {}

    assert not made(Paired, TooMany, "paired_x").check(tmp_path)


@pytest.mark.parametrize("kind", [NvmlMemory, Energy])
def test_what_needs_a_gpu_is_n_a_without_one(notes, monkeypatch, kind):
    monkeypatch.setattr(nvml_types, "first_device", lambda: None)
    assert math.isnan(run(made(kind, Suite, "cudatime_x")))
    assert "GPU" in notes()[0]["reason"]


def test_an_energy_window_holds_as_many_calls_as_fill_it(monkeypatch):
    """A device that takes 3 ms for each call, and shows it only when it is waited for."""
    now, queued = [0.0], []
    monkeypatch.setattr(nvml_types, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    def wait():
        now[0] += 0.003 * len(queued)
        queued.clear()

    assert calls_in(2.0, lambda: queued.append(1), wait) == pytest.approx(2.0 / 0.003, abs=1)


def test_types_are_registered_once_and_before_those_of_asv(monkeypatch):
    monkeypatch.setattr(asv_types, "benchmark_types", [*asv_types.benchmark_types[5:]])
    register()
    register()
    names = [kind.__name__ for kind in asv_types.benchmark_types]
    assert names[:5] == ["CudaTime", "DeviceMemory", "NvmlMemory", "Energy", "Paired"]
    assert len(set(names)) == len(names)
    first_match = {
        name: next(kind for kind in asv_types.benchmark_types if kind.name_regex.match(name))
        for name in ("cudatime_x", "devicemem_x", "nvmlmem_x", "energy_x", "paired_x", "time_x", "peakmem_x")
    }
    assert [kind.__name__ for kind in first_match.values()] == [
        *names[:5],
        "TimeBenchmark",
        "PeakMemBenchmark",
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_cuda_only_leaves_definitions_out_without_a_gpu(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    @cuda_only
    def cudatime_x():
        pass

    @cuda_only
    class OnGpu:
        pass

    assert getattr(cudatime_x, "skip_benchmark", False) is (count == 0)
    assert isinstance(OnGpu, type) is (count == 1)
