"""The functions behind `perfmamba.profile`, `perfmamba.parse` and `perfmamba.prune`, and what they return.

In: models and traces of the user's. Out: values with the numbers, which print themselves as a table, show
themselves in a notebook, and turn into a pandas DataFrame.
"""

import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from perfmamba.errors import InputError, ModelError, TraceError
from perfmamba.models import LoadedModel, annotate, component_map, running_packages
from perfmamba.models.tokenizing import TextEncoder, text_encoder
from perfmamba.profiling import Breakdown, By, break_down, read_trace
from perfmamba.profiling.completeness import missing_from
from perfmamba.profiling.contention import CpuWatch, cautions
from perfmamba.profiling.counts import Mode
from perfmamba.profiling.recording import latencies_ms, record_trace
from perfmamba.profiling.runs import cache_argument
from perfmamba.pruning.activity import Activity, gather_activity
from perfmamba.pruning.calibration import open_calibration, token_batches
from perfmamba.pruning.measuring import CalibrationPlan
from perfmamba.pruning.recipe import Recipe, prune_by
from perfmamba.report.breakdown import breakdown_table, label_width
from perfmamba.table import Table, render

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_TRACE_SUFFIX = ".json.gz"
_GENERATION_OPTIONS = {"use_cache": True, "logits_to_keep": 1}
"""What `generate` passes to a model, where the model takes it."""


@dataclass(frozen=True)
class ParsedTrace:
    """What a trace says: the cost of each component, layer, kernel or operator.

    Print it for a table, or leave it at the end of a notebook cell.

    Attributes:
        name: the name of the trace's file, or of the model that was profiled.
        breakdown: the costs, with notes that a reader must know.
    """

    name: str
    breakdown: Breakdown

    def table(self, top: int | None = None, *, label_width: int | None = None) -> Table:
        """Return the costs as a table, the longest first.

        Args:
            top: rows to show; one more row has the sum of the others. None shows all.
            label_width: shorten longer labels in the middle. None keeps them.
        """
        table = breakdown_table(self.breakdown, top, label_width=label_width)
        return replace(table, title=f"{self.name}: {table.title}")

    def to_pandas(self) -> Any:
        """Return the costs as a pandas DataFrame, one row each; times in ns, memory in bytes.

        `other` and `unattributed` are rows too, so that a column sums to the total of the trace.

        Raises:
            InputError: if pandas is not installed.
        """
        pandas = _require_pandas()
        parts = (*self.breakdown.rows, self.breakdown.other, self.breakdown.unattributed)
        return pandas.DataFrame([asdict(part) for part in parts if part is not None])

    def __str__(self) -> str:
        return render(self.table(label_width=label_width(None)), "text")

    def _repr_html_(self) -> str:
        return render(self.table(), "html")


@dataclass(frozen=True)
class Profile(ParsedTrace):
    """What one forward pass of a model costs.

    Attributes:
        latency_ms: the time of each pass that ran without the profiler.
        passes: forward passes in the trace, which the numbers of `breakdown` are sums over.
        trace: the trace, if it was kept.
    """

    latency_ms: tuple[float, ...]
    passes: int
    trace: Path | None = None

    @property
    def median_ms(self) -> float:
        """The median of `latency_ms`."""
        return median(self.latency_ms)

    def table(self, top: int | None = None, *, label_width: int | None = None) -> Table:
        """Return the costs as a table; see `ParsedTrace.table`."""
        table = super().table(top, label_width=label_width)
        count = len(self.latency_ms)
        latency = f"Without the profiler a pass takes {self.median_ms:,.3f} ms (median of {count})."
        return replace(table, notes=(latency, *table.notes))


def profile(
    model: nn.Module,
    inputs: Tensor | tuple[Any, ...] | Mapping[str, Any],
    *,
    mode: Mode = "prefill",
    warmup: int = 3,
    repeat: int = 3,
    trace: str | Path | None = None,
) -> Profile:
    """Measure what a forward pass of a model costs, and what each of its components costs.

    A Mamba-1 or Mamba-2 model of transformers is broken down by component. Any other module is broken down by
    the ranges that its code opens with `torch.profiler.record_function`, or else by operator. The model stays
    as it is, and runs without gradients.

    Example:
        >>> model = transformers.AutoModelForCausalLM.from_pretrained("state-spaces/mamba-130m-hf")
        >>> print(perfmamba.profile(model, torch.randint(50280, (1, 512))))

    Args:
        model: a model, in the mode (`eval` or `train`) and on the device where it is to be measured.
        inputs: what to call it with, on its device: a tensor, a tuple of arguments, or named arguments. A
            causal language model that gets a tensor or named arguments makes its cache and the logits of the
            last position only, as in generation.
        mode: `prefill` runs the inputs. `decode` runs their last token on the cache that they left.
        warmup: passes before anything is measured.
        repeat: passes that are timed without the profiler, then as many with it.
        trace: keep the trace in this file (.json.gz).

    Returns:
        The latencies and the costs.

    Raises:
        InputError: if a number is out of range, or the trace cannot be written.
        ModelError: if the model cannot decode.
        TraceError: if the profiler lost a part of the passes.
    """
    if repeat < 1 or warmup < 0:
        raise InputError(f"repeat={repeat}, warmup={warmup}: repeat is at least 1 and warmup at least 0")
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    is_mamba = _is_mamba(model)
    unprofiled, profiled = CpuWatch(), CpuWatch()
    with _trace_file(trace) as path, torch.inference_mode():
        run = _pass_over(model, inputs, mode)
        for _ in range(warmup):
            run()
        with unprofiled:
            latency_ms = latencies_ms(run, device=device, repeat=repeat)
        with annotate(model) if is_mamba else nullcontext():
            record_trace(profiled.around(run), path, device=device, repeat=repeat)
        recorded = read_trace(path)
        if is_mamba and (missing := missing_from(recorded, passes=repeat, on_gpu=device.type == "cuda")):
            raise TraceError(missing, path=str(path))
    breakdown = break_down(recorded)
    if device.type == "cpu":  # elsewhere the device's own clock took the times
        notes = cautions([unprofiled.use, profiled.use], latency_ms)
        breakdown = replace(breakdown, notes=(*breakdown.notes, *notes))
    return Profile(
        name=f"{type(model).__name__}, {mode}",
        breakdown=breakdown,
        latency_ms=latency_ms,
        passes=repeat,
        trace=None if trace is None else Path(trace),
    )


def parse(path: str | Path, *, by: By = "component", partial: bool = False) -> ParsedTrace:
    """Break a trace of any torch profiler down.

    Example:
        >>> perfmamba.parse("trace.json.gz", by="kernel").to_pandas().nlargest(10, "time_ns")

    Args:
        path: Chrome-trace JSON, plain or gzip: what `export_chrome_trace` writes.
        by: what a row is: `component`, `layer` (a component of one layer), `kernel` or `op`. A trace without
            PerfMamba's ranges is split by the ranges, modules or operators that it has.
        partial: read a truncated trace up to the cut.

    Raises:
        TraceError: if the file is no trace, or there is nothing in it.
    """
    trace = read_trace(path, partial=partial)
    if not (len(trace.ops) or len(trace.kernels) or len(trace.memory)):
        raise TraceError("no operators, kernels or memory events in this trace", path=str(path))
    return ParsedTrace(Path(path).name, break_down(trace, by=by))


def prune(
    model: "PreTrainedModel",
    *,
    ratio: float,
    score: str = "output",
    bridge: str = "none",
    calibration: Tensor | Iterable[Tensor] | str | None = None,
    align: int = 1,
    seed: int = 0,
) -> "PreTrainedModel":
    """Return a new model with fewer states; the given one stays as it is.

    Example:
        >>> smaller = perfmamba.prune(model, ratio=0.5, calibration=tokens)
        >>> smaller.save_pretrained("smaller")

    Args:
        model: a causal language model of transformers with Mamba-1 or Mamba-2 mixers.
        ratio: the share of states to remove, at least 0 and below 1.
        score: what ranks the states, as `perfmamba prune --score` takes it.
        bridge: how the kept states are read, as `perfmamba prune --bridge` takes it.
        calibration: what to run the model on to score its states: token ids (b, l), several such batches, or
            the name of data as `perfmamba prune --calibration` takes it. Scores that need no data can do
            without. On a CPU this is several times as fast after `use_backend(model, "torch")`.
        align: round the number of kept states up to a multiple of this.
        seed: seeds random scores and random tokens.

    Raises:
        InputError: if a value is out of range, or calibration data are needed and missing or not usable.
        ModelError: if the model cannot be pruned so.
    """
    recipe = Recipe(ratio, score, bridge, align, seed)
    if calibration is None and recipe.needs_data:
        raise InputError(f"{recipe.needs_data} is measured on data: give calibration=")
    activity = None if calibration is None else _activity(model, calibration, seed)
    return prune_by(recipe, _described(model), activity)[0]


def _is_mamba(model: nn.Module) -> bool:
    try:
        component_map(model)
    except ModelError:
        return False
    return True


@contextmanager
def _trace_file(trace: str | Path | None) -> Iterator[Path]:
    """The file to write a trace to, which is temporary unless one is given."""
    if trace is not None:
        if not str(trace).endswith(_TRACE_SUFFIX):
            raise InputError(f"trace={str(trace)!r}: give a file that ends in {_TRACE_SUFFIX}")
        yield Path(trace)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, f"trace{_TRACE_SUFFIX}")


def _pass_over(
    model: nn.Module, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any], mode: Mode
) -> Callable[[], object]:
    """One forward pass as a callable."""
    if isinstance(inputs, tuple):
        arguments, named = inputs, {}
    elif isinstance(inputs, Mapping):
        arguments, named = (), _generation_options(model) | dict(inputs)
    else:
        arguments, named = (inputs,), _generation_options(model)
    if mode == "prefill":
        return lambda: model(*arguments, **named)
    output = model(*arguments, **named)
    try:
        cache = cache_argument(output if isinstance(output, Mapping) else {})
    except StopIteration:
        raise ModelError("mode decode needs a model that returns a cache; this one returns none") from None
    tokens = named["input_ids"] if "input_ids" in named else arguments[0]
    token = tokens[:, -1:].contiguous()
    return lambda: model(token, **cache, use_cache=True)


def _generation_options(model: nn.Module) -> dict[str, Any]:
    taken = inspect.signature(model.forward).parameters
    return {name: value for name, value in _GENERATION_OPTIONS.items() if name in taken}


def _activity(model: "PreTrainedModel", calibration: Tensor | Iterable[Tensor] | str, seed: int) -> Activity:
    """What the states of a model do on calibration data."""
    if isinstance(calibration, Tensor):
        return gather_activity(model, [calibration])
    if not isinstance(calibration, str):
        return gather_activity(model, calibration)
    plan = CalibrationPlan(calibration)
    vocabulary = int(model.config.vocab_size)

    def encoder() -> TextEncoder:
        if not model.name_or_path:
            raise InputError("this model does not say where its tokenizer is: calibrate it on token ids")
        return text_encoder(model.name_or_path, vocabulary=vocabulary)

    opened = open_calibration(
        plan.source, vocabulary=vocabulary, seqlen=plan.seqlen, seed=seed, encoder=encoder
    )
    if opened.warning:
        warnings.warn(opened.warning, stacklevel=3)
    return gather_activity(model, token_batches(opened.sequences, tokens=plan.tokens, batch=plan.batch))


def _described(model: "PreTrainedModel") -> LoadedModel:
    """A model of the user's as `prune_by` takes it."""
    layers = int(model.config.num_hidden_layers)
    return LoadedModel(
        name=Path(model.name_or_path or "").name or type(model).__name__,
        model=model,
        generation=component_map(model).generation,
        weights="a model in memory",
        packages=running_packages(model),
        layers=layers,
        full_layers=layers,
    )


def _require_pandas() -> Any:
    try:
        return import_module("pandas")
    except ImportError as error:
        raise InputError("to_pandas needs the package pandas; pip install 'perfmamba[pandas]'") from error
