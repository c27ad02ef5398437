"""Latency and memory of one forward pass: a prefill (time to first token), a decode step (time per token)."""

from benchmarks.meter.types.register import cuda_only
from benchmarks.workload import (
    BACKENDS,
    MODELS,
    MODES,
    MOST_STEPS,
    PROFILE,
    checked_forward,
    loaded,
    prefill,
    require_models,
    require_short_loop,
)


class Latency:
    """Time of one forward pass, in decode after `seqlen` tokens."""

    params = (MODELS, BACKENDS, MODES, PROFILE.batches, PROFILE.seqlens)
    param_names = ("model", "backend", "mode", "batch", "seqlen")
    version = "2"
    repeat = (10, 100, PROFILE.seconds)
    warmup_time = PROFILE.warmup_seconds
    timeout = PROFILE.timeout

    def setup(self, model: str, _backend: str, mode: str, batch: int, seqlen: int) -> None:
        require_models()
        require_short_loop(model, seqlen, MOST_STEPS)
        self.forward = checked_forward(loaded(model), batch, mode, seqlen)

    def cudatime_forward(self, *_cell: object) -> None:
        self.forward()


class PeakMemory:
    """Peak memory of a prefill: on a GPU with the weights, on a CPU what comes on top of them."""

    params = (MODELS, BACKENDS, PROFILE.batches, PROFILE.seqlens)
    param_names = ("model", "backend", "batch", "seqlen")
    version = "1"
    repeat = (6, 6, 10.0)
    timeout = PROFILE.timeout

    def setup(self, model: str, _backend: str, batch: int, seqlen: int) -> None:
        require_models()
        require_short_loop(model, seqlen, MOST_STEPS)
        self.forward = prefill(loaded(model), batch, seqlen)

    def devicemem_prefill(self, *_cell: object) -> None:
        self.forward()


@cuda_only
class Device:
    """What a prefill takes of the whole GPU, by NVML: memory in the allocator's steps, and energy."""

    params = (MODELS, BACKENDS, PROFILE.batches, PROFILE.seqlens)
    param_names = ("model", "backend", "batch", "seqlen")
    version = "1"
    timeout = PROFILE.timeout

    def setup(self, model: str, _backend: str, batch: int, seqlen: int) -> None:
        require_models()
        require_short_loop(model, seqlen, MOST_STEPS)
        self.forward = prefill(loaded(model), batch, seqlen)

    def nvmlmem_prefill(self, *_cell: object) -> None:
        self.forward()

    def energy_prefill(self, *_cell: object) -> None:
        self.forward()
