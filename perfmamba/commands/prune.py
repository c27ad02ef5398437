"""`perfmamba prune`: a smaller checkpoint of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from perfmamba.commands import Switch, show
from perfmamba.commands.choices import Bridge, Score
from perfmamba.commands.loading import loaded_model
from perfmamba.errors import InputError

if TYPE_CHECKING:
    from perfmamba.models import LoadedModel
    from perfmamba.pruning.activity import Activity
    from perfmamba.pruning.measuring import CalibrationPlan


def prune(
    model: str,
    /,
    *,
    ratio: float,
    score: Score = "output",
    bridge: Bridge = "none",
    calibration: str | None = None,
    activity: Path | None = None,
    tokens: int = 32768,
    batch: int = 8,
    seqlen: int = 512,
    tokenizer: str | None = None,
    align: int = 1,
    format: Literal["transformers", "mamba_ssm"] = "transformers",  # noqa: A002  # the option's name
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    layers: int | None = None,
    device: str | None = None,
    seed: int = 0,
    force: Annotated[bool, Switch] = False,
    out: Path,
) -> None:
    """Take states out of a model and write what is left as a checkpoint.

    Without a bridge, and in Mamba-1 with any, transformers loads it like any other. Scores other than
    magnitude and random, and bridges, are measured on data: give --calibration or --activity.

    Args:
        model: A published shape (seeded random weights), a checkpoint folder, or a hub id.
        ratio: The share of states to remove, at least 0 and below 1.
        score: What ranks the states: paper, delta_b, energy, output, magnitude, or random.
        bridge: How the kept states are read: none, lstsq (least squares), or balanced (a projection of all
            states, in Mamba-2 only).
        calibration: A text file, a .npy file or folder of token arrays, hub:OWNER/NAME[:CONFIG[:SPLIT]], or
            random.
        activity: What perfmamba activity wrote for this model, in place of calibration data.
        tokens: How many tokens to use at most.
        batch: Sequences at once.
        seqlen: Tokens of a sequence.
        tokenizer: Folder or hub id of the tokenizer for text; by default the model's own, or bytes.
        align: Round the number of kept states up to a multiple of this, which some GPU kernels need.
        format: transformers, or mamba_ssm (the layout of the original checkpoints).
        dtype: Of the weights that are written; by default what the model's config.json names, or float32.
        layers: Keep only the first blocks, for small machines.
        device: cpu, cuda or cuda:INDEX; by default the GPU if there is one.
        seed: Seeds random scores, random weights and random tokens.
        force: Replace a pruned checkpoint that is in the folder.
        out: Folder for the checkpoint.
    """
    if calibration is not None and activity is not None:
        raise InputError("--calibration and --activity exclude each other; give one")

    from perfmamba.models import resolve_dtype
    from perfmamba.models.loading import stored_dtype
    from perfmamba.models.tokenizing import tokenizer_folder
    from perfmamba.pruning.activity import Activity
    from perfmamba.pruning.checkpoints import check_free, check_writable, save_pruned
    from perfmamba.pruning.measuring import CalibrationPlan
    from perfmamba.pruning.recipe import Recipe, prune_by
    from perfmamba.pruning.surgery import check_prunable
    from perfmamba.report.pruning import cost_table
    from perfmamba.table import render

    check_free(out, force=force)
    recipe = Recipe(ratio, score, bridge, align, seed)
    if recipe.needs_data and calibration is None and activity is None:
        raise InputError(f"{recipe.needs_data} is measured on data: give --calibration or --activity")
    measured = Activity.load(activity) if activity else None
    loaded = loaded_model(model, layers=layers, device=device, seed=seed)
    check_prunable(loaded.model)
    check_writable(loaded.model, format, bridge)
    if calibration is not None:
        plan = CalibrationPlan(calibration, tokens, batch, seqlen, seed, tokenizer)
        measured = _measured(loaded, model, plan)
    files = tokenizer_folder(model)
    smaller, card = prune_by(
        recipe,
        loaded,
        measured,
        checkpoint_format=format,
        dtype=resolve_dtype(dtype) if dtype else stored_dtype(files),
    )
    save_pruned(smaller, out, card, tokenizer=files, force=force)
    show(render(cost_table(card.before, card.after, title=card.title, notes=card.lines()), "text"))
    show(f"Written: {out}")


def _measured(loaded: "LoadedModel", source: str, plan: "CalibrationPlan") -> "Activity":
    from perfmamba.commands.activity import calibration_progress
    from perfmamba.pruning.measuring import measure_activity

    with calibration_progress(plan.tokens) as (on_batch, on_warning):
        return measure_activity(loaded, source, plan, on_batch=on_batch, on_warning=on_warning)
