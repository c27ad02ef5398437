"""What the states of a model do on calibration data, as means over all its positions.

In: a model and batches of tokens. Out: an `Activity`, kept as one safetensors file. Each batch is looked at
once and then forgotten, so that memory does not grow with the number of tokens.

Letters: g groups (1 in Mamba-1), n states of a group, h heads; in Mamba-1 each channel counts as a head.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import perfmamba
from perfmamba.errors import InputError, ModelError, reason
from perfmamba.files import replacing
from perfmamba.models.scan_inputs import ScanInputs, observe_scans
from perfmamba.pruning.checked import CheckedModel, checked_model
from perfmamba.pruning.magnitude import LayerWeights, layer_weights
from perfmamba.pruning.state_sums import StateSums

if TYPE_CHECKING:
    from torch import nn

_FORMAT, _VERSION = "perfmamba_activity", "1"


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerActivity(LayerWeights):
    """What the states of one layer do: means over the positions of all sequences, float64 on the CPU.

    Attributes:
        dt: (h,) the mean step size of each head; of each channel in Mamba-1.
        write: (g, n) E[mean of dt |B_s| over the heads of the group], what a position writes to state s.
        output: (g, n) E[C_s^2 sum of h_s^2 over heads and their channels], what is lost without state s.
        state_moment: (g, n, n) E[sum of h h^T over the group's heads and their channels].
        output_moment: (g, n, n) E[C C^T].
        magnitude: (g, n) of the weights alone, as in `LayerWeights`.
    """

    dt: Tensor
    write: Tensor
    output: Tensor
    state_moment: Tensor
    output_moment: Tensor

    @property
    def energy(self) -> Tensor:
        """(g, n) E[sum of h_s^2 over heads and their channels]."""
        return self.state_moment.diagonal(dim1=1, dim2=2)


@dataclass(frozen=True, eq=False)
class Activity:
    """What the states of a model do.

    Attributes:
        layers: one for each Mamba block.
        tokens: positions that the means are over.
        provenance: the model, the data and the versions it was measured with, for people to read.
    """

    layers: tuple[LayerActivity, ...]
    tokens: int
    provenance: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file, wholly or not at all.

        Raises:
            InputError: if the file cannot be written.
        """
        from safetensors.torch import save

        tensors = {
            f"layers.{number}.{part.name}": getattr(layer, part.name).contiguous()
            for number, layer in enumerate(self.layers)
            for part in fields(layer)
        }
        about = {
            _FORMAT: _VERSION,
            "tokens": str(self.tokens),
            "layers": str(len(self.layers)),
            "provenance": json.dumps(self.provenance),
        }
        with replacing(path) as partial:
            partial.write_bytes(save(tensors, metadata=about))

    @classmethod
    def load(cls, path: Path) -> "Activity":
        """Read what `save` wrote.

        Raises:
            InputError: if the file does not exist or holds something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get(_FORMAT) != _VERSION:
                    raise InputError(f"{path}: no activity of this version; make it with perfmamba activity")
                layers = tuple(
                    LayerActivity(
                        **{
                            part.name: file.get_tensor(f"layers.{number}.{part.name}")
                            for part in fields(LayerActivity)
                        }
                    )
                    for number in range(int(about["layers"]))
                )
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: not readable as an activity file: {reason(error)}") from error
        return cls(layers, int(about["tokens"]), json.loads(about["provenance"]))


def gather_activity(
    model: "nn.Module | CheckedModel",
    batches: Iterable[Tensor],
    *,
    provenance: Mapping[str, str] | None = None,
    on_batch: Callable[[int], None] = lambda _tokens: None,
) -> Activity:
    """Run a model over batches of tokens and average what its states do.

    The states are computed anew from the inputs of the scans, in the model's dtype (float32 where that is
    narrower) and on its device. The sums are kept in float64. The backend that runs the scans changes the
    result only by rounding.

    Args:
        model: a transformers model with Mamba-1 or Mamba-2 mixers, hybrids included.
        batches: integers (b, l), on any device. Every position counts, so there must be no padding.
        provenance: what to note about model and data. Versions and a digest of the tokens are added.
        on_batch: called after each batch with the number of its tokens.

    Raises:
        ModelError: if the model has no Mamba mixer or is pruned with a bridge, or if a weight or the states
            of a layer are not finite.
        InputError: if there are no tokens.
    """
    checked = checked_model(model)
    sums: dict[int, StateSums] = {}
    tokens, digest = 0, sha256()

    def add(layer: int, scan: ScanInputs) -> None:
        if layer not in sums:
            sums[layer] = StateSums(scan)
        sums[layer].add(scan)
        if not sums[layer].finite():
            raise ModelError(
                f"the states of layer {layer} are not finite (NaN or infinity) on this data; "
                "calibrate in float32"
            )

    whole: Any = checked.model
    backbone: Any = getattr(whole, "base_model", whole)  # the logits are not needed
    device = next(whole.parameters()).device
    with torch.inference_mode(), observe_scans(whole, add):
        for batch in batches:
            backbone(batch.to(device), use_cache=False)
            tokens += batch.numel()
            digest.update(batch.to("cpu", torch.int64).numpy().tobytes())
            on_batch(batch.numel())
    if not tokens:
        raise InputError("the calibration data hold no tokens")
    layers = tuple(
        LayerActivity(**sums[layer].means(), magnitude=weights.magnitude)
        for layer, weights in enumerate(layer_weights(checked))
    )
    return Activity(
        layers, tokens, {**(provenance or {}), "tokens_sha256": digest.hexdigest(), **_versions()}
    )


def _versions() -> dict[str, str]:
    import transformers

    return {
        "perfmamba": perfmamba.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
