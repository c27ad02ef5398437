"""`perfmamba activity`: what the states of a model do, as a file, a figure and a table."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from perfmamba.commands import Several, Switch, show
from perfmamba.commands.choices import Score
from perfmamba.commands.loading import loaded_model
from perfmamba.errors import InputError
from perfmamba.files import make_folder


def activity(
    model: str,
    /,
    *,
    calibration: str,
    out: Path,
    tokens: int = 32768,
    batch: int = 8,
    seqlen: int = 512,
    tokenizer: str | None = None,
    score: Annotated[tuple[Score, ...], Several] = ("paper", "output"),
    layers: int | None = None,
    device: str | None = None,
    dtype: str = "float32",
    seed: int = 0,
    force: Annotated[bool, Switch] = False,
    trust_remote_code: Annotated[bool, Switch] = False,
) -> None:
    """See what each state of a model does on calibration data; prune can use the file.

    Beside the file, Figure 3 of the paper is drawn as .svg and .html: states by layers, a panel a score.

    Args:
        model: A published shape (seeded random weights), a checkpoint folder, or a hub id.
        calibration: A text file, a .npy file or folder of token arrays, hub:OWNER/NAME[:CONFIG[:SPLIT]], or
            random.
        out: The file to write, .safetensors.
        tokens: How many tokens to use at most.
        batch: Sequences at once.
        seqlen: Tokens of a sequence.
        tokenizer: Folder or hub id of the tokenizer for text; by default the model's own, or bytes.
        score: What the figure shows.
        layers: Keep only the first blocks, for small machines.
        device: cpu, cuda or cuda:INDEX; by default the GPU if there is one.
        dtype: float32, bfloat16 or float16.
        seed: Seeds random weights and random tokens.
        force: Replace a file that is there already.
        trust_remote_code: Let transformers run Python files that a checkpoint brings.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: give a file that ends in .safetensors")
    if out.exists() and not force:
        raise InputError(f"--out {out} is there already; give another file, or --force to replace it")

    from perfmamba.pruning.measuring import CalibrationPlan, measure_activity
    from perfmamba.report.activity_figure import activity_chart
    from perfmamba.report.activity_table import activity_table
    from perfmamba.report.charts import require_altair, save_chart
    from perfmamba.table import render

    plan = CalibrationPlan(calibration, tokens, batch, seqlen, seed, tokenizer)
    loaded = loaded_model(
        model,
        layers=layers,
        device=device,
        dtype=dtype,
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    with calibration_progress(tokens) as (on_batch, on_warning):
        try:
            require_altair()
            drawn = True
        except InputError as error:
            on_warning(f"no figure will be drawn: {error}")
            drawn = False
        measured = measure_activity(loaded, model, plan, on_batch=on_batch, on_warning=on_warning)
    make_folder(out.parent)
    measured.save(out)
    title = f"What the states of {loaded.name} do on {measured.provenance['data']}"
    figures = save_chart(activity_chart(measured, score, title=title), out) if drawn else ()
    show(render(activity_table(measured, title=title), "text"))
    show(f"Written: {', '.join(map(str, (out, *figures)))}")


@contextmanager
def calibration_progress(tokens: int) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A progress bar over calibration tokens on stderr.

    Yields:
        What to call with the tokens of each batch, and what to call with a warning.
    """
    from perfmamba.commands.bars import counting

    with counting("calibration tokens", tokens) as on_batch:
        yield on_batch, lambda warning: print(f"warning: {warning}", file=sys.stderr)
