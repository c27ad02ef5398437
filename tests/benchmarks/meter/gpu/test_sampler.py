"""What follows from a recording, by hand-made timelines; recording itself is tested in test_nvml.py."""

import math

import numpy as np
import pytest

from benchmarks.meter.gpu.nvml import NullDevice, NvmlError, Recording, Sampler, Throttle


def recording(seconds, **columns):
    """A recording with the given columns; the others are missing."""
    names = ("used_bytes", "power_w", "sm_clock_mhz", "throttle_bits", "energy_j")
    missing = [math.nan] * len(seconds)
    arrays = {name: np.array(columns.get(name, missing), dtype=np.float64) for name in names}
    return Recording(period_s=1.0, seconds=np.array(seconds, dtype=np.float64), **arrays)


def test_means_are_over_time_not_over_samples():
    """A ramp from 0 to 10 in 1 s, then 10 for 3 s: (5 * 1 + 10 * 3) / 4."""
    assert recording([0, 1, 4], power_w=[0, 10, 10]).mean_power_w == pytest.approx(8.75)


def test_one_sample_is_its_own_mean_and_peak():
    seen = recording([0.5], used_bytes=[7], power_w=[3])
    assert (seen.mean_power_w, seen.peak_bytes) == (3, 7)


@pytest.mark.parametrize(("steps", "energy"), [(9, None), (10, 10.0)])
def test_energy_needs_enough_steps_of_the_counter(steps, energy):
    """Readings between two steps repeat the counter and prove nothing."""
    counter = np.repeat(100.0 + np.arange(steps + 1), 5)
    assert recording(np.arange(counter.size), energy_j=counter).window_energy_j == energy


def test_a_quantity_that_was_lost_on_the_way_is_not_made_up():
    lost = [1, math.nan, 1]
    seen = recording([0, 1, 2], used_bytes=lost, power_w=lost, throttle_bits=[0x4, math.nan, 0x1])
    assert seen.peak_bytes is None
    assert seen.mean_power_w is None
    assert seen.throttle == Throttle.POWER_CAP | Throttle.IDLE


@pytest.mark.parametrize(
    ("bits", "names", "invalidates"),
    [
        (0x0, (), False),
        (0x1, ("idle",), False),
        (0x4, ("power cap",), False),
        (0x8, ("hw slowdown",), True),
        (0x20, ("sw thermal",), True),
        (0x40, ("hw thermal",), True),
        (0x80, ("power brake",), True),
        (0x112, ("application clocks", "sync boost", "display clocks"), False),
        (0x8044, ("power cap", "hw thermal", "0x8000"), True),
    ],
)
def test_throttle_reasons_say_whether_a_run_counts(bits, names, invalidates):
    throttle = Throttle(bits)
    assert (throttle.names, throttle.invalidates) == (names, invalidates)


@pytest.mark.parametrize("period", [0, -1, math.nan])
def test_a_period_must_be_positive(period):
    with pytest.raises(ValueError, match=f"a sampler's period must be positive, not {period} s"):
        Sampler(NullDevice(NvmlError("no GPU")), period_s=period)
