"""Which cases are measured, and on what arguments."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from benchmarks.kernel_table.cases import arguments, work
from benchmarks.kernel_table.operation import CHANNELS, HEAD_DIM, HEADS, MAMBA1, MAMBA2, TAPS
from benchmarks.kernel_table.registry import OPERATIONS, grid
from perfmamba.models import published_config
from tests.benchmarks.kernel_table.small_cases import SSD, each_operation


def test_the_shapes_are_those_of_the_published_models():
    mamba1, mamba2 = published_config(MAMBA1), published_config(MAMBA2)
    assert mamba1.intermediate_size == CHANNELS == HEADS * HEAD_DIM
    assert (mamba2.num_heads, mamba2.head_dim, mamba2.n_groups) == (HEADS, HEAD_DIM, 1)
    assert mamba1.conv_kernel == mamba2.conv_kernel == TAPS


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_grids_have_every_operation_and_no_case_twice(device):
    whole, quick = grid(device), grid(device, quick=True)
    assert len(whole) == len(set(whole)) > len(quick) == len(set(quick))
    assert {case.operation for case in whole} == {case.operation for case in quick} == set(OPERATIONS)
    assert set(quick) <= set(whole)


def test_the_grids_have_the_sizes_that_were_asked_for():
    def sizes(device, operation, dtype):
        return {
            (case.batch, case.seqlen, case.states)
            for case in grid(device)
            if (case.operation, case.dtype) == (operation, dtype)
        }

    assert sizes("cpu", "ssd", "float32") == set(product([1], [512, 2048, 4096], [128, 64, 12]))
    assert sizes("cpu", "selective_scan", "float32") == {(1, 512, 16), (1, 2048, 16)}
    assert sizes("cpu", "ssd_update", "float32") == set(product([1, 8, 64], [1], [128, 64, 12]))
    at_batch_8 = product([8], [2048, 4096, 8192, 16384], [128, 89, 64, 38, 12])
    assert sizes("cuda", "ssd", "bfloat16") >= set(at_batch_8)
    steps = product([1, 8, 64, 256, 1024], [1], [128, 89, 64, 38, 12])
    assert sizes("cuda", "ssd_update", "bfloat16") == set(steps)
    assert {states for _, _, states in sizes("cuda", "selective_scan", "bfloat16")} == {16, 11, 4}


@each_operation
def test_arguments_are_seeded_of_the_dtype_and_as_many_bytes_as_the_work_says(case):
    """Inputs in; the output, which is as large as the first input, and the state out."""
    case = replace(case, dtype="bfloat16")
    given = arguments(case, "cpu")
    again = arguments(case, "cpu")
    assert all(torch.equal(value, again[name]) for name, value in given.items())
    states = {name for name in given if name == OPERATIONS[case.operation].updates}
    (first,) = {"x", "u"} & set(given)
    moved = sum(value.numel() * value.element_size() for value in given.values())
    moved += given[first].numel() * 2 + sum(given[name].numel() * 2 for name in states)
    if case.operation == "causal_conv1d":
        moved += 2 * case.channels * (TAPS - 1) * 2  # the last inputs
    if case.operation in {"ssd", "selective_scan"}:
        moved += 2 * CHANNELS * case.states * 4  # the final state, in float32
    assert work(case).moved_bytes == moved


def test_steps_are_spread_around_a_twentieth():
    given = arguments(replace(SSD, batch=4, seqlen=500), "cpu")
    steps = torch.nn.functional.softplus(given["dt_bias"])
    assert 0.03 < steps.median() < 0.08
