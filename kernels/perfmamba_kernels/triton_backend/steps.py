"""What the kernels of several operations share: the step size and the gate.

Functions for use in kernels, on blocks in float32.
"""

import math

import triton
import triton.language as tl

LOG2_E = tl.constexpr(math.log2(math.e))  # exp(x) = exp2(LOG2_E x), and exp2 is one instruction


@triton.jit
def step_size(dt: tl.tensor, bias: tl.tensor, USE_SOFTPLUS: tl.constexpr) -> tl.tensor:
    """softplus(dt + bias), or dt + bias; as accurate as torch's for the small steps that models take."""
    dt += bias
    if USE_SOFTPLUS:
        power = tl.exp(tl.minimum(dt, 20.0))
        # log(1 + power) loses the digits that 1 + power rounds away; the quotient puts them back.
        rounded = 1.0 + power
        kept = tl.where(rounded == 1.0, 1.0, rounded - 1.0)
        exact = tl.where(rounded == 1.0, power, tl.log(rounded) * (power / kept))
        dt = tl.where(dt > 20.0, dt, exact)
    return dt


@triton.jit
def silu(x: tl.tensor) -> tl.tensor:
    """The gate x / (1 + exp(-x))."""
    return x / (1.0 + tl.exp2(x * -LOG2_E))
