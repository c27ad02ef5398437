"""What the model suites run: forward passes of published models, checked before they are timed.

Two grids, chosen by the environment variable PERFMAMBA_BENCH_PROFILE. `quick`, the default, is for two CPU
cores: models cut to two blocks (the blocks are all alike, so what changes a block shows here as well), batch
1. `paper` is for a GPU: whole models, batch 8, every length of the paper's tables. Weights and tokens are
random and seeded. Everything runs on CUDA where there is one.
"""

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any

from benchmarks.meter.measure.clocks import device

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

try:
    # Imported once, in the process that asv forks its children from: each would need four seconds for it.
    import torch
    from transformers.utils.logging import set_verbosity

    from perfmamba.models import load_model

    set_verbosity(logging.ERROR)  # one line per kernel package that is not installed, in every cell
    import_module("transformers.models.mamba.modeling_mamba")
    import_module("transformers.models.mamba2.modeling_mamba2")
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = ""

try:
    from perfmamba.models import component_replays
except ImportError:
    HAS_REPLAYS = False
else:
    HAS_REPLAYS = True


@dataclass(frozen=True)
class GridProfile:
    """One grid.

    Attributes:
        models: what the parameter `model` says, and the published model and the number of its blocks (None:
            all) that it stands for.
        batches: sequences in a forward pass.
        seqlens: tokens in a sequence.
        component_seqlens: the lengths at which components are measured one by one.
        ratios: shares of the state that are pruned; the first is 0, the baseline.
        configurations: how states are taken; see `pruning`.
        pruned_seqlens: the lengths at which pruned models are measured.
        decode_batches: sequences in a decode step of a pruned model.
        seconds: of samples for a cell, unless 100 samples need less.
        warmup_seconds: at most, for ten warm-ups.
        timeout: seconds for a cell, its model and checks included.
    """

    models: dict[str, tuple[str, int | None]]
    batches: tuple[int, ...]
    seqlens: tuple[int, ...]
    component_seqlens: tuple[int, ...]
    ratios: tuple[float, ...]
    configurations: tuple[str, ...]
    pruned_seqlens: tuple[int, ...]
    decode_batches: tuple[int, ...]
    seconds: float
    warmup_seconds: float
    timeout: float


PROFILES = {
    "quick": GridProfile(
        models={"mamba-130m-2layers": ("mamba-130m", 2), "mamba2-130m-2layers": ("mamba2-130m", 2)},
        batches=(1,),
        seqlens=(64, 512),
        component_seqlens=(512,),
        ratios=(0.0, 0.5, 0.9),
        configurations=("pruned", "masked", "lstsq"),
        pruned_seqlens=(512,),
        decode_batches=(1, 8),
        seconds=1.5,
        warmup_seconds=0.3,
        timeout=120,
    ),
    "paper": GridProfile(
        models={"mamba-130m": ("mamba-130m", None), "mamba2-130m": ("mamba2-130m", None)},
        batches=(8,),
        seqlens=(64, 512, 2048, 4096, 8192, 16384),
        component_seqlens=(64, 512, 2048),
        ratios=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
        configurations=("pruned", "masked", "lstsq", "balanced"),
        pruned_seqlens=(64, 512, 2048, 4096, 8192, 16384),
        decode_batches=(1, 8, 64, 256),
        seconds=10.0,
        warmup_seconds=5.0,
        timeout=900,
    ),
}
CHOICE = "PERFMAMBA_BENCH_PROFILE"
if os.environ.get(CHOICE, "quick") not in PROFILES:
    message = f"{CHOICE}={os.environ[CHOICE]}: no such grid; choose one of {', '.join(PROFILES)}"
    raise SystemExit(message)  # of this, asv shows no traceback
PROFILE = PROFILES[os.environ.get(CHOICE, "quick")]

MODELS = tuple(PROFILE.models)
PUBLISHED_LAYERS = 24
"""Of both models, whole."""
MOST_STEPS = PUBLISHED_LAYERS * 2048
"""Of a Python loop, in a pass that is timed: a second or two on a GPU."""
MOST_PROFILED_STEPS = PUBLISHED_LAYERS * 512
"""In one that is profiled: some hundred megabytes of trace."""
MODES = ("prefill", "decode")
COMPONENTS = ("norm", "in_proj", "conv", "ssm", "out_proj")
BACKENDS = ("mamba_ssm",) if device() == "cuda" and find_spec("mamba_ssm") else ("hf",)
"""Whose kernels run the convolution and the scan: transformers picks the official ones if it finds them."""


def require_models() -> None:
    """Skip the benchmark (asv's meaning of NotImplementedError) on commits that cannot load models."""
    if MISSING:
        raise NotImplementedError(MISSING)


def require_replays() -> None:
    """Skip the benchmark on commits that cannot run a component alone."""
    require_models()
    if not HAS_REPLAYS:
        raise NotImplementedError("this commit has no component_replays")


def require_state_sizes() -> None:
    """Skip the benchmark on commits that build published shapes with their own state size only."""
    require_models()
    if "state_size" not in signature(load_model).parameters:
        raise NotImplementedError("this commit loads no published shape with another state size")


@cache
def loaded(name: str, ratio: float = 0.0) -> "PreTrainedModel":
    """The model, loaded once in a process; see `fresh_model`."""
    return fresh_model(name, ratio)


def fresh_model(name: str, ratio: float = 0.0) -> "PreTrainedModel":
    """A model of the profile, its state smaller by the ratio, with random weights.

    A model that was pruned costs what one of its size with random weights does.

    On a CPU it runs on one thread. Two wait for each other whenever other work takes a core from one of
    them: with both cores of a machine busy, a 170 ms prefill took 0.8 to 1.3 s on two threads, 0.4 to 0.6 s
    on one.
    """
    torch.set_num_threads(1)
    source, layers = PROFILE.models[name]
    smaller: dict[str, Any] = {"state_size": kept_states(source, ratio)} if ratio else {}
    found: Any = load_model(source, layers=layers, device=device(), **smaller)
    require_backend(found.packages if hasattr(found, "packages") else found.backend)  # its older name
    model: PreTrainedModel = found.model
    return model


def require_backend(running: dict[str, str]) -> None:
    """Skip the benchmark if other kernels run than its parameter says.

    transformers passes over a kernel package that cannot be imported (built for another torch, say) without
    an error, and runs its own functions.
    """
    expected = {"hf": "torch"}.get(BACKENDS[0], BACKENDS[0])
    if running["ssm"] != expected:
        message = (
            f"the scan is run by {running['ssm']}, not by {expected}: is {expected} built for this torch?"
        )
        raise NotImplementedError(message)


def require_short_loop(name: str, seqlen: int, most_steps: int) -> None:
    """Skip the benchmark if the model would run more than so many steps of a Python loop in a prefill.

    transformers scans Mamba-1 token by token, layer by layer: a step takes 30 us and more even on a GPU.
    """
    source, layers = PROFILE.models[name]
    if BACKENDS[0] == "hf" and source.startswith("mamba-"):
        steps = seqlen * (layers or PUBLISHED_LAYERS)
        if steps > most_steps:
            message = f"{steps} steps of a Python loop in each pass: install mamba_ssm to measure this length"
            raise NotImplementedError(message)


def kept_states(source: str, ratio: float) -> int:
    """The state size that pruning leaves of a published model's: floor(N (1 - ratio)), at least 1."""
    from perfmamba.models import published_config

    size = published_config(source).state_size
    return max(1, size - math.ceil(Fraction(str(ratio)) * size))


def tokens(model: Any, batch: int, seqlen: int) -> "Tensor":
    """Seeded random tokens, (batch, seqlen)."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, model.config.vocab_size, (batch, seqlen), generator=generator)
    return drawn.to(model.device)


def prefill(model: Any, batch: int, seqlen: int) -> Callable[[], Any]:
    """A call that runs one prefill, and leaves the state for a decode step in its output."""
    prompt = tokens(model, batch, seqlen)

    @torch.inference_mode()
    def forward() -> Any:
        return model(prompt, use_cache=True, logits_to_keep=1)

    return forward


def checked_forward(model: Any, batch: int, mode: str, seqlen: int) -> Callable[[], Any]:
    """A call that runs one forward pass: a prefill, or one decode step after it.

    Raises:
        AssertionError: if the last of `seqlen` tokens gets other logits in a prefill, which scans the
            sequence in parallel, than in a decode step after the others, which is the recurrence.
    """
    prompt = tokens(model, batch, seqlen)
    whole = prefill(model, batch, seqlen)
    with torch.inference_mode():
        before = model(prompt[:, :-1], use_cache=True, logits_to_keep=1)
    cache = "cache" if "cache" in before else "cache_params"  # the new name and the old, of transformers 5.24
    state = {cache: before[cache]}

    @torch.inference_mode()
    def decode() -> Any:
        return model(prompt[:, -1:], **state, use_cache=True, logits_to_keep=1)

    torch.testing.assert_close(whole().logits, decode().logits, rtol=1e-2, atol=1e-2)
    return whole if mode == "prefill" else decode


def checked_replay(model: Any, batch: int, component: str, seqlen: int) -> Callable[[], Any]:
    """A call that does one component's work of the first layer in a prefill, and nothing else.

    Raises:
        AssertionError: if doing it again does not give the same numbers.
    """
    replays: dict[Any, Callable[[], Any]] = dict(component_replays(model, prefill(model, batch, seqlen)))

    @torch.inference_mode()
    def call() -> Any:
        return replays[component]()

    torch.testing.assert_close(call(), call(), rtol=0, atol=0)
    return call
