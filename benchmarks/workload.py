"""What the model suites run: one forward pass of a cut-down published model, checked before it is timed.

Two blocks and batch 1, so that the whole grid takes minutes on two cores; the blocks are all alike, so what
changes a block shows here as well. Weights and tokens are random and seeded. Runs on CUDA where there is
one.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

MODELS = ("mamba-130m", "mamba2-130m")
MODES = ("prefill", "decode")
SEQLENS = (64, 512)
LAYERS = 2

try:
    # Imported once, in the process that asv forks its children from: each would need four seconds for it.
    import torch
    from transformers.utils import logging

    from perfmamba.models import load_model

    logging.set_verbosity_error()  # silences one line per kernel package that is not installed, in every cell
    import_module("transformers.models.mamba.modeling_mamba")
    import_module("transformers.models.mamba2.modeling_mamba2")
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = ""


def require_models() -> None:
    """Skip the benchmark (asv's meaning of NotImplementedError) on commits that cannot load models."""
    if MISSING:
        raise NotImplementedError(MISSING)


def device() -> str:
    """Where the models run; asked in asv's children only, because it may initialise CUDA."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def loaded(name: str):
    """The model, loaded once in a process: asv repeats a benchmark's setup before every sample.

    On a CPU it runs on one thread. Two wait for each other whenever other work takes a core from one of
    them: with both cores of a machine busy, a 170 ms prefill took 0.8 to 1.3 s on two threads, 0.4 to 0.6 s
    on one.
    """
    torch.set_num_threads(1)
    return load_model(name, layers=LAYERS, device=device()).model


def tokens(model, seqlen: int):
    """Seeded random tokens, (1, seqlen)."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, model.config.vocab_size, (1, seqlen), generator=generator)
    return drawn.to(model.device)


@cache
def checked_forward(name: str, mode: str, seqlen: int) -> Callable[[], Any]:
    """A call that runs one forward pass and waits for the device: a prefill, or one decode step.

    Raises:
        AssertionError: if the last of `seqlen` tokens gets other logits in a prefill, which scans the
            sequence in parallel, than in a decode step after the others, which is the recurrence.
    """
    model = loaded(name)
    prompt = tokens(model, seqlen)
    last = prompt[:, -1:]

    @torch.inference_mode()
    def prefill(length: int = seqlen):
        return model(prompt[:, :length], use_cache=True, logits_to_keep=1)

    state = prefill(seqlen - 1).cache_params

    @torch.inference_mode()
    def decode():
        return model(last, cache_params=state, use_cache=True, logits_to_keep=1)

    torch.testing.assert_close(prefill().logits, decode().logits, rtol=1e-2, atol=1e-2)
    return _synchronised(prefill if mode == "prefill" else decode)


def _synchronised(call: Callable[[], Any]) -> Callable[[], Any]:
    if device() == "cpu":
        return call

    def call_and_wait():
        result = call()
        torch.cuda.synchronize()
        return result

    return call_and_wait
