"""What a smaller state buys: a model against the same one with its whole state.

All ratios of a cell are measured in turn, in one process, in random order. Weights are random, because the
time and memory of a pruned model depend on its shape alone. `configuration` says how states are taken:
`pruned` (removed), `masked` (zeroed, and still computed), or the name of a bridge (removed, and read through
it). The configurations are spelled out in `workload`: asv tells cells apart by their place in `params`, which
must not depend on the bridges that a commit has.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from benchmarks.meter.measure.clocks import device
from benchmarks.meter.types.paired import Holding
from benchmarks.workload import (
    BACKENDS,
    MODELS,
    PROFILE,
    checked_forward,
    fresh_model,
    loaded,
    prefill,
    require_state_sizes,
    tokens,
)

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

try:
    from perfmamba.models import use_backend
    from perfmamba.pruning.activity import gather_activity
    from perfmamba.pruning.scores import scores_without_data
    from perfmamba.pruning.selection import select_highest
    from perfmamba.pruning.surgery import masked, pruned
except ImportError as error:
    MISSING = str(error)
else:
    MISSING = ""

MAMBA2 = tuple(model for model in MODELS if model.startswith("mamba2-"))
OURS = "triton" if device() == "cuda" else "torch"
WITHOUT_BRIDGE = ("pruned", "masked")

CallsByRatio = dict[float, Callable[[], object]]
"""A call for each pruning ratio."""


def require_measurable(backend: str, configuration: str) -> None:
    """Skip the benchmark on commits that cannot build it, and bridges on transformers' own functions."""
    require_state_sizes()
    if backend == "hf" and configuration not in WITHOUT_BRIDGE:
        message = f"bridge {configuration} is not measured with {backend}: {OURS} shows what it costs"
        raise NotImplementedError(message)


def prepared(model: str, ratio: float, configuration: str, backend: str) -> "PreTrainedModel":
    """A model with a share of its states taken, run by a backend.

    Without our backends or surgery (an old commit) only what transformers runs can be built, and only
    removed states.
    """
    if backend in BACKENDS and configuration == "pruned":
        return loaded(model, ratio)
    if MISSING:
        raise NotImplementedError(MISSING)
    return _variant(model, ratio, configuration, backend)


@cache
def _variant(model: str, ratio: float, configuration: str, backend: str) -> "PreTrainedModel":
    built = fresh_model(model, ratio if configuration == "pruned" else 0.0)
    if ratio and configuration != "pruned":
        selection = select_highest(scores_without_data(built, "random"), ratio=ratio, score="random")
        if configuration == "masked":
            built = masked(built, selection)
        else:
            activity = gather_activity(built, [tokens(built, 1, 256)])
            built = pruned(built, selection, bridge=configuration, activity=activity)
    if backend not in BACKENDS:
        use_backend(built, backend)
    return built


class StateSize:
    """Prefill by pruning ratio; ratio 0 is the dense model that the others are compared with."""

    params = (
        MAMBA2,
        (*BACKENDS, OURS),
        PROFILE.configurations,
        PROFILE.batches,
        PROFILE.pruned_seqlens,
        PROFILE.ratios,
    )
    param_names = ("model", "backend", "configuration", "batch", "seqlen", "ratio")
    version = "1"
    variant = "ratio"
    baseline = 0.0
    paper = "table2"
    compared = False
    timeout = 2 * PROFILE.timeout

    def setup(self, _model: str, backend: str, configuration: str, *_group: object) -> None:
        require_measurable(backend, configuration)

    def paired_prefill(
        self, model: str, backend: str, configuration: str, batch: int, seqlen: int
    ) -> CallsByRatio:
        return {
            ratio: checked_forward(prepared(model, ratio, configuration, backend), batch, "prefill", seqlen)
            for ratio in PROFILE.ratios
        }

    paired_prefill.repeat = (10, 100, PROFILE.seconds)
    paired_prefill.warmup_time = PROFILE.warmup_seconds

    def paired_memory(
        self, model: str, backend: str, configuration: str, batch: int, seqlen: int
    ) -> CallsByRatio:
        """Peak of a prefill, the weights included."""
        calls: CallsByRatio = {}
        for ratio in PROFILE.ratios:
            built = prepared(model, ratio, configuration, backend)
            calls[ratio] = Holding(prefill(built, batch, seqlen), weight_bytes(built))
        return calls

    paired_memory.measure = "memory"
    paired_memory.repeat = (6, 6, 10.0)


class DecodeStateSize:
    """A decode step by pruning ratio, after a short prompt: it moves the whole state of each sequence."""

    params = (
        MAMBA2,
        (OURS,),
        tuple(configuration for configuration in PROFILE.configurations if configuration != "masked"),
        ("decode",),
        PROFILE.decode_batches,
        (64,),
        PROFILE.ratios,
    )
    param_names = ("model", "backend", "configuration", "mode", "batch", "seqlen", "ratio")
    version = "1"
    variant = "ratio"
    baseline = 0.0
    paper = "decode"
    compared = False
    timeout = 2 * PROFILE.timeout

    def setup(self, *_group: object) -> None:
        require_state_sizes()

    def paired_step(self, *cell: Any) -> CallsByRatio:
        model, backend, configuration, mode, batch, seqlen = cell
        return {
            ratio: checked_forward(prepared(model, ratio, configuration, backend), batch, mode, seqlen)
            for ratio in PROFILE.ratios
        }

    paired_step.repeat = (10, 100, PROFILE.seconds)
    paired_step.warmup_time = PROFILE.warmup_seconds


def weight_bytes(model: "nn.Module") -> int:
    """The size of the weights; shared ones count once."""
    return sum(weight.nbytes for weight in model.parameters())
