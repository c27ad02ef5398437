"""What the registry says of an operation, and the cases that it is measured in.

Neither torch nor the kernels are imported here or in `operations`: the suite of the kernels takes its
parameters from the registry, also for a commit that lacks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.kernel_table.draw import Draw

CHANNELS, TAPS = 1536, 4
"""Of both models."""
HEADS, HEAD_DIM = 24, 64
MAMBA1, MAMBA2 = "mamba-130m", "mamba2-130m"
PUBLISHED_STATES = {MAMBA1: 16, MAMBA2: 128}
SHORT = 300
"""Positions of a case that is small enough for the sequential reference in float64, and no multiple of any
chunk."""
CHUNK = 256
"""Positions a chunk, where a contender is told: what the published models say."""

F32, BF16 = "float32", "bfloat16"
_ITEMSIZES = {F32: 4, BF16: 2, "float16": 2}

Arguments = dict[str, "Tensor"]
Outputs = tuple["Tensor", ...]
Call = Callable[[], Outputs]
"""Computes a case once: the output and, where there is one, the state afterwards."""
Maker = Callable[["Case", Arguments], Call]


@dataclass(frozen=True)
class Case:
    """An operation of a layer.

    Attributes:
        operation: a function of `perfmamba_kernels`.
        model: whose layer.
        batch: sequences.
        seqlen: positions of each; 1 for a step.
        states: N.
        dtype: of inputs, outputs and of a step's state; constants (A, D, the bias of dt) are float32.
    """

    operation: str
    model: str
    batch: int
    seqlen: int
    states: int
    dtype: str = F32

    def __str__(self) -> str:
        sizes = f"b={self.batch} L={self.seqlen} N={self.states}"
        return f"{self.operation} {self.model} {sizes} {self.dtype}"

    @property
    def channels(self) -> int:
        """What the convolution convolves: x, and in Mamba-2 B and C."""
        return CHANNELS + (2 * self.states if self.model == MAMBA2 else 0)

    @property
    def itemsize(self) -> int:
        """Bytes a number of the dtype."""
        return _ITEMSIZES[self.dtype]

    @property
    def shortened(self) -> Case:
        """The same, small enough for the reference."""
        return replace(self, batch=min(self.batch, 2), seqlen=min(self.seqlen, SHORT))


@dataclass(frozen=True)
class Sizes:
    """Cases of an operation: each batch with each length and each N.

    Attributes:
        turn: their place in a run, among the sizes of all operations. A time limit leaves out the last.
        batches: sequences.
        seqlens: positions of each; 1 for a step.
        states: N; if empty, the N that each model was published with.
        dtype: of the numbers.
    """

    turn: int
    batches: tuple[int, ...]
    seqlens: tuple[int, ...] = (1,)
    states: tuple[int, ...] = ()
    dtype: str = F32


@dataclass(frozen=True)
class Contender:
    """Another package's implementation of an operation.

    Attributes:
        make: takes a case and its arguments and returns a call. A step changes the state among the arguments.
            The package is imported there, so one that is broken costs only its own row.
        package: the package that it needs.
        on_cpu: whether it runs on a CPU.
        is_bearable: whether a GPU can run a case within seconds and a few gigabytes.
    """

    make: Maker
    package: str
    on_cpu: bool = False
    is_bearable: Callable[[Case], bool] = lambda _case: True


@dataclass(frozen=True)
class Operation:
    """All that the table and the suite know of an operation that our kernels have.

    Attributes:
        name: of the function in `perfmamba_kernels`, which every backend computes; of its reference, which
            checks the others; and of the function in `perfmamba_kernels.costs`.
        label: what it is, for people.
        models: whose layers have it.
        arguments: makes the arguments of a case, by the names of the reference and in its order. They lie in
            memory as a model's mixer hands them over.
        cost: the sizes of a case, by the names of the function in `perfmamba_kernels.costs`.
        options: how the models call it.
        contenders: other packages' implementations, by their names in the table; baselines come first.
        table: for "cpu" and "cuda" the sizes that the table measures.
        quick: the same, for `--quick`.
        suite_states: N in the asv suite, by the name of its profile.
        compared_states: N that a comparison of commits looks at.
        updates: the argument that a step updates in place; empty for an operation on a sequence.
    """

    name: str
    label: str
    models: tuple[str, ...]
    arguments: Callable[[Case, Draw], Arguments]
    cost: Callable[[Case], dict[str, int]]
    options: Mapping[str, Any]
    contenders: Mapping[str, Contender]
    table: Mapping[str, tuple[Sizes, ...]]
    quick: Mapping[str, tuple[Sizes, ...]]
    suite_states: Mapping[str, tuple[int, ...]]
    compared_states: tuple[int, ...]
    updates: str = ""

    def cases(self, sizes: Sizes) -> Iterator[Case]:
        """Every case of some sizes."""
        for batch, seqlen, model in product(sizes.batches, sizes.seqlens, self.models):
            for states in sizes.states or (PUBLISHED_STATES[model],):
                yield Case(self.name, model, batch, seqlen, states, sizes.dtype)
