"""Calls of other packages' functions, as several operations need them."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.kernel_table.operation import Arguments, Call


def hf_function(module: str, name: str) -> Callable[..., Any]:
    """A function that transformers runs where it finds no kernel package; it exists from 5.15 on."""
    function = getattr(import_module(f"transformers.models.{module}.modeling_{module}"), name)
    plain: Callable[..., Any] = inspect.unwrap(function)
    return plain


def mamba_ssm_step() -> Callable[..., Any]:
    """The decode step of the official package, for both models."""
    step: Callable[..., Any] = import_module(
        "mamba_ssm.ops.triton.selective_state_update"
    ).selective_state_update
    return step


def stepping(step: Callable[..., Any], given: Arguments) -> Call:
    """A step as `mamba_ssm` and transformers have it, which takes the state first."""
    positional, others = split(given, "state", "x", "dt", "A", "B", "C")
    return lambda: (step(*positional, **others, dt_softplus=True), given["state"])


def split(given: Arguments, *names: str) -> tuple[list[Any], Arguments]:
    """The arguments of these names, to be passed by position, and the others by name."""
    others = {name: value for name, value in given.items() if name not in names}
    return [given[name] for name in names], others


def first_position(scan: Arguments, names: set[str], dim: int) -> Arguments:
    """The arguments of a step, from those of a scan."""
    return {name: value.select(dim, 0) if name in names else value for name, value in scan.items()}
