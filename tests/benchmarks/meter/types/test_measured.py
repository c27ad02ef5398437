"""One cell: what is called, what asv gets, and what is n/a. In test_asv_runs.py asv itself runs them."""

import itertools
import math
import statistics

import pytest
import torch

from benchmarks.meter.types import measured
from benchmarks.meter.types.register import CudaTime, DeviceMemory
from tests.benchmarks.meter.types.cells import MIB, QUICK, TimedSuite, made, run


def history(benchmark):
    return [event for event, _ in itertools.groupby(benchmark.func.__self__.made)]


def test_a_cell_is_set_up_once_sampled_and_torn_down(notes):
    benchmark = made(CudaTime, TimedSuite, "cudatime_x", index=3)
    result = run(benchmark)
    assert history(benchmark) == ["setup 3 b", "call 3 b", "teardown"]
    assert result["number"] == 1
    assert 6 <= len(result["samples"]) <= 30
    assert 0 < statistics.median(result["samples"]) < 1e-3
    assert notes() == [
        {
            "kind": "cell",
            "benchmark": "suite.TimedSuite.cudatime_x",
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
    benchmark = made(CudaTime, TimedSuite, "cudatime_x", **QUICK)
    assert len(run(benchmark)["samples"]) == 1
    assert benchmark.func.__self__.made.count("call 1 a") == 1


def test_a_number_of_repeats_is_taken_at_its_word():
    benchmark = made(CudaTime, TimedSuite, "cudatime_x", repeat=17, warmup_time=0)
    assert len(run(benchmark)["samples"]) == 17


def test_asv_s_metadata_say_what_the_numbers_are():
    public = {
        name: value
        for name, value in vars(made(CudaTime, TimedSuite, "cudatime_x")).items()
        if name[0] != "_"
    }
    assert {
        "type": "cudatime",
        "unit": "seconds",
        "less_is_better": True,
        "paper": "table1",
        "rounds": 1,
        "param_names": ["calls", "letter"],
    }.items() <= public.items()
    assert made(DeviceMemory, TimedSuite, "devicemem_x").unit == "bytes"


def test_memory_is_the_growth_on_a_cpu(notes):
    result = run(made(DeviceMemory, TimedSuite, "devicemem_x", index=2))
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
    monkeypatch.setattr(measured, "release", lambda: emptied.append(1))

    class TooLarge(TimedSuite):
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
    class Lacking(TimedSuite):
        def setup(self, *_cell):
            raise NotImplementedError("this commit has no kernels")

    assert math.isnan(run(made(CudaTime, Lacking, "cudatime_x")))
    assert notes()[0]["reason"] == "this commit has no kernels"
    assert capsys.readouterr().out == "n/a: this commit has no kernels\n"


def test_an_error_of_the_benchmark_stays_a_failure():
    class Broken(TimedSuite):
        def cudatime_x(self, *_cell):
            raise NotImplementedError("no kernel for this type")

    with pytest.raises(NotImplementedError, match="no kernel"):
        run(made(CudaTime, Broken, "cudatime_x"))


def test_skipped_parameters_are_neither_set_up_nor_noted(notes):
    class Skipping(TimedSuite):
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
    result = run(made(CudaTime, TimedSuite, "cudatime_x"))
    if kept:
        assert result == {"samples": kept, "number": 1}
    else:
        assert math.isnan(result)
        assert notes()[0]["reason"] == "no sample is a finite number"
