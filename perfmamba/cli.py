"""The command line: one thin command per verb.

Each command checks its input, calls one function of the package and prints. Anything a user can act on ends
as one line on stderr and exit code 2; Ctrl-C ends with exit code 130.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial as bind
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

import perfmamba
from perfmamba.commands import Several, Switch, in_color, show
from perfmamba.commands.choices import Backend, Mode
from perfmamba.errors import InputError, PerfMambaError, TraceError
from perfmamba.table import TableFormat, render

# Kineto announces every start and stop of the profiler on stderr, below no level but this.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
# transformers warns once for every kernel that it has no fast version of; results name the packages there.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Bars of its own and of the hub would run through ours.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

_EXIT_INPUT = 2
_EXIT_INTERRUPTED = 130
_LABEL_WIDTH = 100

app = App(
    name="perfmamba",
    version=perfmamba.__version__,
    help="See where the time and memory of Mamba-1 and Mamba-2 models go.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (PerfMambaError, CycloptsError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_EXIT_INTERRUPTED)


def _fail(message: str) -> None:
    print(f"perfmamba: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(_EXIT_INPUT)


@app.command
def profile(
    models: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    seqlen: Annotated[tuple[int, ...], Several] = (64, 512, 2048),
    batch: int = 8,
    mode: Annotated[tuple[Mode, ...], Several] = ("prefill",),
    backend: Annotated[tuple[Backend, ...], Several] = (),
    device: str | None = None,
    dtype: str = "float32",
    layers: int | None = None,
    warmup: int = 3,
    repeat: int = 3,
    seed: int = 0,
    threads: int | None = None,
    out: Path,
    resume: Annotated[bool, Switch] = False,
    overwrite: Annotated[bool, Switch] = False,
    trust_remote_code: Annotated[bool, Switch] = False,
) -> None:
    """Profile models by component: a trace and a result for every model, mode and length.

    Args:
        models: Published shapes (mamba2-130m, seeded random weights), checkpoint folders, or hub ids.
        seqlen: Prompt lengths in tokens.
        batch: Sequences at once.
        mode: prefill (the prompt at once) or decode (single tokens after it), or both.
        backend: What runs the convolutions and scans: hf (transformers' own code in torch), mamba_ssm (the
            official kernels), torch or triton (ours), reference (ours, sequential); several side by side. By
            default what transformers picks.
        device: cpu, cuda or cuda:INDEX; by default the GPU if there is one.
        dtype: float32, bfloat16 or float16.
        layers: Keep only the first blocks of each model, for small machines.
        warmup: Passes before anything is measured.
        repeat: Passes timed without the profiler, then as many with it.
        seed: Seeds the random weights and tokens.
        threads: CPU threads that torch computes with; by default its own choice.
        out: Folder for the results.
        resume: Keep the results that the folder has and do the rest.
        overwrite: Measure again what the folder has.
        trust_remote_code: Let transformers run Python files that a checkpoint brings.
    """
    import torch

    from perfmamba.models import resolve_device, resolve_dtype
    from perfmamba.profiling.grid import make_jobs, pending_jobs, run_jobs
    from perfmamba.progress import show_progress

    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; give one")
    if threads is not None:
        if threads < 1:
            raise InputError(f"--threads {threads}: give a number of at least 1")
        torch.set_num_threads(threads)
    resolve_dtype(dtype)
    resolved = resolve_device(device)
    jobs = make_jobs(
        models,
        modes=mode,
        seqlens=seqlen,
        batch=batch,
        dtype=dtype,
        device=resolved,
        layers=layers,
        warmup=warmup,
        repeat=repeat,
        seed=seed,
        backends=backend or (None,),
    )
    existing: Literal["refuse", "resume", "overwrite"] = (
        "resume" if resume else "overwrite" if overwrite else "refuse"
    )
    pending = pending_jobs(jobs, out, existing, device=resolved)
    run = bind(run_jobs, folder=out, device=resolved, trust_remote_code=trust_remote_code)
    failed = show_progress(run, pending, total=len(jobs))
    if failed == len(jobs):
        raise InputError(f"none of the {failed} cells could be measured; the results in {out} say why")
    show(f"Results in {out}. Next: perfmamba table 1 {out}")


@app.command
def parse(
    traces: Annotated[list[Path], Parameter(negative="")],
    /,
    *,
    by: Literal["component", "layer", "kernel", "op"] = "component",
    top: int | None = None,
    format: TableFormat = "text",  # noqa: A002  # the option's name
    partial: Annotated[bool, Switch] = False,
) -> None:
    """Break a Kineto trace down by component, layer, kernel or operator.

    Args:
        traces: Traces of any torch profiler, .json or .json.gz.
        by: What a row is. Traces without PerfMamba's ranges are split by what they have.
        top: Show only the costliest rows and sum the others.
        format: text, markdown, latex, csv, html or json.
        partial: Read a truncated trace up to the cut.
    """
    from perfmamba.profiling import break_down, read_trace
    from perfmamba.report.breakdown import breakdown_table

    if top is not None and top < 1:
        raise InputError(f"--top {top}: give a number of at least 1")
    if len(traces) > 1 and format in {"csv", "json"}:
        raise InputError(f"--format {format} takes one trace at a time; you gave {len(traces)}")
    width = _LABEL_WIDTH if format == "text" else None
    for path in traces:
        trace = read_trace(path, partial=partial)
        if not (len(trace.ops) or len(trace.kernels) or len(trace.memory)):
            raise TraceError("no operators, kernels or memory events in this trace", path=str(path))
        breakdown = break_down(trace, by=by)
        table = breakdown_table(breakdown, top, label_width=width)
        show(render(replace(table, title=f"{path.name}: {table.title}"), format, color=in_color()))


# Imported when they are called; until then, their help is what is said here.
_VERBS = {
    "activity": "Measure what the states of a model do on data, and draw it.",
    "prune": "Take states out of a model and write what is left as a checkpoint.",
    "recall": "Ask models for the values of keys that they were told before.",
    "perplexity": "Tell how well models predict a text.",
    "study": "Measure what every way of pruning costs in accuracy.",
}
for _verb, _help in _VERBS.items():
    app.command(f"perfmamba.commands.{_verb}:{_verb}", name=_verb, help=_help)

tables = App(name="table", help="Print a table of the paper from measured results.")
app.command(tables)


@tables.command(name="1")
def table_1(
    folder: Path,
    /,
    *,
    against: Literal["paper"] | None = None,
    mode: Mode = "prefill",
    memory: Literal["allocated", "peak", "growth"] = "allocated",
    batch: int | None = None,
    dtype: str | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    format: TableFormat = "text",  # noqa: A002  # the option's name
) -> None:
    """What each component costs, from the results of `perfmamba profile`.

    Args:
        folder: What `perfmamba profile --out` wrote.
        against: paper puts the paper's numbers and the ratios beside ours.
        mode: Which results to show.
        memory: allocated (sum of allocations), peak (highest live bytes) or growth (rise within a component).
        batch: Choose the results of this batch size.
        dtype: Choose the results of this dtype.
        device: Choose the results of this device.
        format: text, markdown, latex, csv, html or json.
    """
    from perfmamba.profiling.results import read_results, select
    from perfmamba.report.table1 import table1, table1_against_paper

    results = select(read_results(folder), mode=mode, batch=batch, dtype=dtype, device=device)
    if against == "paper":
        if mode != "prefill" or memory != "allocated":
            raise InputError(
                "the paper's Table 1 is of prefill and of allocated memory: leave --mode and --memory out"
            )
        table = table1_against_paper(results)
    else:
        table = table1(results, memory=memory)
    show(render(table, format, color=in_color()))


@tables.command(name="2")
def table_2(
    folder: Path = Path("results", "asv"),
    /,
    *,
    against: Literal["paper"] | None = None,
    machine: str | None = None,
    format: TableFormat = "text",  # noqa: A002  # the option's name
) -> None:
    """What removing states saves in time and memory, from the results of asv.

    Args:
        folder: Where asv keeps its results, or one machine's folder there.
        against: paper puts the paper's numbers beside ours.
        machine: Which machine's results, if there are several.
        format: text, markdown, latex, csv, html or json.
    """
    from perfmamba.report.pairs import read_pairs
    from perfmamba.report.table2 import table2

    for table in table2(read_pairs(folder, machine), against_paper=against == "paper"):
        show(render(table, format, color=in_color()))


@tables.command(name="decode")
def table_decode(
    folder: Path = Path("results", "asv"),
    /,
    *,
    memory: float = 40,
    machine: str | None = None,
    format: TableFormat = "text",  # noqa: A002  # the option's name
) -> None:
    """What removing states buys in decoding, from the results of asv.

    Args:
        folder: Where asv keeps its results, or one machine's folder there.
        memory: For how many gigabytes to tell how many sequences fit.
        machine: Which machine's results, if there are several.
        format: text, markdown, latex, csv, html or json.
    """
    from perfmamba.report.decode import decode_tables
    from perfmamba.report.pairs import read_pairs

    for table in decode_tables(read_pairs(folder, machine), memory_gb=memory):
        show(render(table, format, color=in_color()))
