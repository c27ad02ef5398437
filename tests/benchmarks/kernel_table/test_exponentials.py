"""The kernel that measures the rate of exponentials, interpreted and compiled."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


INTERPRETED = """
import torch
from benchmarks.kernel_table.exponentials import repeated_exponentials

out = torch.full((64,), float("nan"))
repeated_exponentials[2,](out, 5, 32)
print(out.tolist())
"""
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from benchmarks.kernel_table.exponentials import repeated_exponentials

signature = {"out": "*fp32", "rounds": "i32", "NUMBERS": "constexpr"}
source = ASTSource(repeated_exponentials, signature, constexprs={"NUMBERS": 1024})
print(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"])
"""


def printed_by(code, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = {**inherited, **environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_kernel_of_exponentials_computes_them():
    printed = printed_by(INTERPRETED, TRITON_INTERPRET="1")
    expected = [1 / (1 + number) for number in range(64)]
    for _ in range(5):
        expected = [2.0**-x for x in expected]
    assert json.loads(printed) == pytest.approx(expected, rel=1e-5)


def test_the_kernel_of_exponentials_loops_over_little_else():
    """Of 1024 numbers and four warps each thread has eight, all in its registers."""
    ptx = printed_by(COMPILED)
    assert ptx.count("ex2.approx") == 8
    _, _, loop = ptx.partition("ex2.approx")
    assert not re.search(r"\b(ld|st)\.", loop.rpartition("ex2.approx")[0])
