"""What a smaller state buys: prefill time and memory of a model against the same one with its whole state.

All ratios of a cell are measured in turn, in one process, in random order. Weights are random: what a pruned
model costs depends on its shape alone.
"""

from benchmarks.meter.paired_type import Holding
from benchmarks.workload import (
    BACKENDS,
    MODELS,
    PROFILE,
    checked_forward,
    loaded,
    prefill,
    require_state_sizes,
)

MAMBA2 = tuple(model for model in MODELS if model.startswith("mamba2-"))


class StateSize:
    """Prefill by pruning ratio; ratio 0 is the dense model that the others are compared with."""

    params = (MAMBA2, BACKENDS, ("pruned",), PROFILE.batches, PROFILE.seqlens, PROFILE.ratios)
    param_names = ("model", "backend", "configuration", "batch", "seqlen", "ratio")
    version = "1"
    variant = "ratio"
    baseline = 0.0
    paper = "table2"
    compared = False
    timeout = 2 * PROFILE.timeout

    def setup(self, *_group):
        require_state_sizes()

    def paired_prefill(self, model, _backend, _configuration, batch, seqlen):
        return {
            ratio: checked_forward(loaded(model, ratio), batch, "prefill", seqlen) for ratio in PROFILE.ratios
        }

    paired_prefill.repeat = (10, 100, PROFILE.seconds)
    paired_prefill.warmup_time = PROFILE.warmup_seconds

    def paired_memory(self, model, _backend, _configuration, batch, seqlen):
        """Peak of a prefill, the weights included."""
        return {
            ratio: Holding(prefill(loaded(model, ratio), batch, seqlen), weight_bytes(loaded(model, ratio)))
            for ratio in PROFILE.ratios
        }

    paired_memory.measure = "memory"
    paired_memory.repeat = (6, 6, 10.0)


def weight_bytes(model) -> int:
    """The size of the weights; shared ones count once."""
    return sum(weight.nbytes for weight in model.parameters())
