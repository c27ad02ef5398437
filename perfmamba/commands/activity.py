"""`perfmamba activity`: what the states of a model do, as a file, a figure and a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from perfmamba.commands.choices import Score
from perfmamba.commands.loading import let_threads_sleep, loaded_model
from perfmamba.commands.options import (
    CALIBRATION_HELP,
    Batch,
    Device,
    Dtype,
    Force,
    Layers,
    Model,
    Seed,
    SequenceLength,
    Several,
    Tokenizer,
    Tokens,
    TrustRemoteCode,
)
from perfmamba.errors import InputError
from perfmamba.files import make_folder
from perfmamba.terminal import progress_bar, show, show_table, tell

if TYPE_CHECKING:
    from perfmamba.models import LoadedModel
    from perfmamba.pruning.activity import Activity
    from perfmamba.pruning.checked import CheckedModel
    from perfmamba.pruning.measuring import CalibrationPlan


def activity(
    model: Model,
    /,
    *,
    calibration: Annotated[str, Parameter(help=CALIBRATION_HELP)],
    out: Path,
    tokens: Tokens = 32768,
    batch: Batch = 8,
    seqlen: SequenceLength = 512,
    tokenizer: Tokenizer = None,
    score: Annotated[tuple[Score, ...], Several] = ("paper", "output"),
    layers: Layers = None,
    device: Device = None,
    dtype: Dtype = "float32",
    seed: Seed = 0,
    force: Force = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure what each state of a model does on calibration data; `prune` can use the file.

    Figure 3 of the paper is drawn beside the file, as .svg and .html: states by layers, one panel a score.

    Args:
        out: The file to write, .safetensors.
        score: The scores that the figure shows.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: give a file that ends in .safetensors")
    if out.exists() and not force:
        raise InputError(f"--out {out} is there already; give another file, or --force to replace it")

    let_threads_sleep()
    from perfmamba.pruning.measuring import CalibrationPlan
    from perfmamba.report.activity_figure import activity_chart
    from perfmamba.report.activity_table import activity_table
    from perfmamba.report.charts import require_altair, save_chart

    plan = CalibrationPlan(calibration, tokens, batch, seqlen, seed, tokenizer)
    loaded = loaded_model(
        model,
        layers=layers,
        device=device,
        dtype=dtype,
        seed=seed,
        trust_remote_code=trust_remote_code,
    )
    try:
        require_altair()
        is_drawn = True
    except InputError as error:  # it is optional, and all numbers are there without it
        tell(f"warning: no figure will be drawn: {error}")
        is_drawn = False
    measured = measured_activity(loaded, model, plan)
    make_folder(out.parent)
    measured.save(out)
    title = f"What the states of {loaded.name} do on {measured.provenance['data']}"
    figures = save_chart(activity_chart(measured, score, title=title), out) if is_drawn else ()
    show_table(activity_table(measured, title=title))
    show(f"Written: {', '.join(map(str, (out, *figures)))}")


def measured_activity(
    loaded: "LoadedModel", source: str, plan: "CalibrationPlan", *, checked: "CheckedModel | None" = None
) -> "Activity":
    """Measure the activity of a model's states, with a progress bar; errors as `measure_activity`."""
    from perfmamba.pruning.measuring import measure_activity

    with progress_bar("calibration tokens", plan.tokens) as bar:
        return measure_activity(
            loaded,
            source,
            plan,
            checked=checked,
            on_batch=bar.advance,
            on_warning=lambda warning: bar.tell(f"warning: {warning}"),
        )
