"""Latency: what a user waits for a prefill (time to first token) or for a decode step (time per token)."""

from benchmarks.workload import MODELS, MODES, SEQLENS, checked_forward, require_models


class Latency:
    """Wall time of one forward pass, after `seqlen` tokens in decode."""

    params = (MODELS, MODES, SEQLENS)
    param_names = ("model", "mode", "seqlen")
    version = "1"
    number = 1
    repeat = (10, 100, 1.0)
    warmup_time = 0.3

    def setup(self, model, mode, seqlen):
        require_models()
        self.forward = checked_forward(model, mode, seqlen)

    def time_forward(self, *_cell):
        self.forward()
