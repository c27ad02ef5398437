"""The way from calibration data that a user names to what the states of a model do on them.

In: a loaded model and a `CalibrationPlan`. Out: its `Activity`, whose provenance says what was used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from perfmamba.models import LoadedModel, running_packages, use_backend
from perfmamba.models.tokenizing import text_encoder
from perfmamba.pruning.activity import Activity, gather_activity
from perfmamba.pruning.calibration import open_calibration, token_batches
from perfmamba.pruning.checked import CheckedModel


@dataclass(frozen=True)
class CalibrationPlan:
    """Which data to look at, and how much of them.

    Attributes:
        source: as `open_calibration` takes it.
        tokens: how many to use at most; only whole sequences are used.
        batch: sequences at once.
        seqlen: positions of a sequence, unless the data are rows already.
        seed: of random tokens.
        tokenizer: folder or hub id of the tokenizer for text; None for the model's own.
    """

    source: str
    tokens: int = 32768
    batch: int = 8
    seqlen: int = 512
    seed: int = 0
    tokenizer: str | None = None


def measure_activity(
    loaded: LoadedModel,
    model_source: str,
    plan: CalibrationPlan,
    *,
    checked: CheckedModel | None = None,
    on_warning: Callable[[str], None] = lambda _warning: None,
    on_batch: Callable[[int], None] = lambda _tokens: None,
) -> Activity:
    """Run a model over calibration data and average what its states do.

    On a CPU the model's scans run on our torch backend from then on, which is several times as fast as
    transformers' own.

    Args:
        loaded: the model.
        model_source: what it was loaded from, where its tokenizer is.
        plan: the data.
        checked: the model of `loaded`, if it is checked already.
        on_warning: called with a sentence on what the data are not good for.
        on_batch: called after each batch with the number of its tokens.

    Raises:
        InputError: if the data cannot be used.
        ModelError: if the states of a layer are not finite.
    """
    vocabulary = loaded.model.get_input_embeddings().num_embeddings
    assert isinstance(vocabulary, int)
    weight = next(loaded.model.parameters())
    if weight.device.type == "cpu":
        use_backend(loaded.model, "torch")
    calibration = open_calibration(
        plan.source,
        vocabulary=vocabulary,
        seqlen=plan.seqlen,
        seed=plan.seed,
        encoder=partial(text_encoder, plan.tokenizer or model_source, vocabulary=vocabulary),
    )
    if calibration.warning:
        on_warning(calibration.warning)
    provenance = {
        "model": loaded.name,
        "weights": loaded.weights,
        "layers": f"{loaded.layers} of {loaded.full_layers}",
        "data": calibration.name,
        "encoder": calibration.encoder or "none: the data are tokens",
        "device": weight.device.type,
        "dtype": str(weight.dtype).removeprefix("torch."),
        "scan": running_packages(loaded.model)["ssm"],
    }
    batches = token_batches(calibration.sequences, tokens=plan.tokens, batch=plan.batch)
    return gather_activity(checked or loaded.model, batches, provenance=provenance, on_batch=on_batch)
