"""`perfmamba prune`: a smaller checkpoint of a model."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from perfmamba.commands.activity import measured_activity
from perfmamba.commands.choices import Bridge, Score, bridges_help, scores_help
from perfmamba.commands.loading import let_threads_sleep, loaded_model
from perfmamba.commands.options import (
    CALIBRATION_HELP,
    Batch,
    Device,
    DtypeName,
    Force,
    Layers,
    Model,
    Seed,
    SequenceLength,
    Tokenizer,
    Tokens,
)
from perfmamba.errors import InputError
from perfmamba.terminal import show, show_table


def prune(
    model: Model,
    /,
    *,
    ratio: float,
    score: Annotated[Score, Parameter(help=f"What ranks the states. {scores_help()}")] = "output",
    bridge: Annotated[Bridge, Parameter(help=f"How the kept states are read. {bridges_help()}")] = "none",
    calibration: Annotated[str | None, Parameter(help=CALIBRATION_HELP)] = None,
    activity: Path | None = None,
    tokens: Tokens = 32768,
    batch: Batch = 8,
    seqlen: SequenceLength = 512,
    tokenizer: Tokenizer = None,
    align: int = 1,
    format: Literal["transformers", "mamba_ssm"] = "transformers",
    dtype: DtypeName | None = None,
    layers: Layers = None,
    device: Device = None,
    seed: Seed = 0,
    force: Force = False,
    out: Path,
) -> None:
    """Take states out of a model and write what is left as a checkpoint.

    transformers loads the checkpoint like any other if it has no bridge, or if it is a Mamba-1. Bridges, and
    most scores, are measured on data: give --calibration or --activity.

    Args:
        ratio: The share of states to remove, at least 0 and below 1.
        score: What ranks the states.
        bridge: How the kept states are read.
        activity: A file that `perfmamba activity` wrote for this model, in place of calibration data.
        align: Round the number of kept states up to a multiple of this, which some GPU kernels need.
        format: The layout of the checkpoint: that of transformers, or the original one of mamba_ssm.
        dtype: The dtype of the weights that are written; by default the one that the model's config.json
            names, or float32.
        out: Folder for the checkpoint.
    """
    if calibration is not None and activity is not None:
        raise InputError("--calibration and --activity exclude each other; give one")

    let_threads_sleep()
    from perfmamba.models import resolve_dtype
    from perfmamba.models.loading import stored_dtype
    from perfmamba.models.tokenizing import tokenizer_folder
    from perfmamba.pruning.activity import Activity
    from perfmamba.pruning.checkpoints import check_free, check_writable, save_pruned
    from perfmamba.pruning.expected_sizes import sizes_table
    from perfmamba.pruning.measuring import CalibrationPlan
    from perfmamba.pruning.recipe import Recipe, prune_by
    from perfmamba.pruning.surgery import check_prunable

    check_free(out, force=force)
    recipe = Recipe(ratio, score, bridge, align, seed)
    if recipe.needs_data and calibration is None and activity is None:
        raise InputError(f"{recipe.needs_data} is measured on data: give --calibration or --activity")
    measured = Activity.load(activity) if activity else None
    loaded = loaded_model(model, layers=layers, device=device, seed=seed)
    checked = check_prunable(loaded.model, bridge=bridge)
    check_writable(loaded.model, format, bridge)
    if calibration is not None:
        plan = CalibrationPlan(calibration, tokens, batch, seqlen, seed, tokenizer)
        measured = measured_activity(loaded, model, plan, checked=checked)
    files = tokenizer_folder(model)
    smaller, card = prune_by(
        recipe,
        loaded,
        measured,
        checked=checked,
        checkpoint_format=format,
        dtype=resolve_dtype(dtype) if dtype else stored_dtype(files),
    )
    save_pruned(smaller, out, card, tokenizer=files, force=force)
    show_table(sizes_table(card.before, card.after, title=card.title, notes=card.lines()))
    show(f"Written: {out}")
