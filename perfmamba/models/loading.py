"""From a name to a model ready for inference.

In: a published shape (`mamba2-130m`: seeded random weights, nothing is downloaded), a local folder, or a
hub id (`owner/name`). Folders and hub ids may hold either layout: that of transformers (`model_type` in
config.json) or that of the original `state-spaces/*` checkpoints (`ssm_cfg` and pytorch_model.bin, which
transformers itself does not read). Out: a `LoadedModel` in eval mode.

Weights are read from safetensors where there are any; .bin files are unpickled with `weights_only`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from perfmamba.components import Generation
from perfmamba.errors import ModelError, reason
from perfmamba.models.backends import running_packages, use_backend
from perfmamba.models.devices import DTYPES
from perfmamba.models.mixers import component_map
from perfmamba.models.original import is_original_config, load_original
from perfmamba.models.shapes import PUBLISHED_SHAPES, checked_layers, published_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_SMALL_FILES = ["config.json", "generation_config.json", "*.index.json"]
_SUGGESTIONS = 3
_REVISION_DIGITS = 12


@dataclass(frozen=True)
class LoadedModel:
    """A model and where it came from.

    Attributes:
        name: the published name, the hub id, or the folder's own name (never its path).
        model: a transformers causal language model in eval mode.
        generation: 1 for Mamba-1, 2 for Mamba-2.
        weights: `random (seed N)`, `checkpoint`, or `checkpoint (revision R)` from the hub.
        packages: the package that runs `conv` and the one that runs `ssm`.
        layers: number of blocks loaded.
        full_layers: number of blocks of the whole model.
    """

    name: str
    model: "PreTrainedModel"
    generation: Generation
    weights: str
    packages: dict[str, str]
    layers: int
    full_layers: int


def load_model(
    source: str,
    *,
    layers: int | None = None,
    state_size: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    backend: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a model by published name, folder or hub id.

    Args:
        source: a key of `PUBLISHED_SHAPES`, a folder, or `owner/name` on the hub.
        layers: keep only the first blocks; None keeps all.
        state_size: of a published shape, in place of its own; None keeps that.
        device: where the weights go.
        dtype: the dtype of the weights.
        seed: seeds the random weights of a published shape; unused otherwise.
        backend: what runs the convolutions and scans; see `use_backend`.
        trust_remote_code: let transformers run Python files of the checkpoint.

    Raises:
        ModelError: if there is no such model, its files cannot be used, or the backend cannot run it.
    """
    name = model_name(source, layers=layers)
    if source in PUBLISHED_SHAPES:
        full_layers = PUBLISHED_SHAPES[source].n_layer
        config = published_config(source, layers=layers, state_size=state_size)
        model = random_model(config, seed=seed, dtype=dtype)
        weights = f"random (seed {seed})"
    elif state_size is not None:
        raise ModelError(f"state_size={state_size}: {name} is a checkpoint, whose weights fix its state size")
    else:
        folder, weights = Path(source), "checkpoint"
        if not folder.is_dir():
            folder = _download(source, trust_remote_code=trust_remote_code)
            weights = f"checkpoint (revision {folder.name[:_REVISION_DIGITS]})"
        model, full_layers = _load_folder(folder, name, layers, dtype, trust_remote_code=trust_remote_code)
    components = component_map(model)
    nn.Module.to(model, torch.device(device))
    model.train(mode=False)
    use_backend(model, backend)
    return LoadedModel(
        name=name,
        model=model,
        generation=components.generation,
        weights=weights,
        packages=running_packages(model),
        layers=int(model.config.num_hidden_layers),
        full_layers=full_layers,
    )


def random_model(
    config: "PretrainedConfig", *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> "PreTrainedModel":
    """Return a causal language model in eval mode, whose weights depend on the arguments alone.

    Args:
        config: a configuration of transformers, such as `published_config(name)`.
        seed: seeds the weights; torch's own generator stays as it is.
        dtype: the dtype of the weights.
    """
    import transformers

    auto_model: Any = transformers.AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = auto_model.from_config(config, dtype=dtype)
    # in train mode transformers looks for a fused kernel; there is no dropout that needs it
    model.train(mode=False)
    return model


def model_name(source: str, *, layers: int | None = None) -> str:
    """The name that `load_model(source)` gives, found without loading anything.

    Raises:
        ModelError: if `source` is no published shape, folder or hub id, a published shape has fewer than
            `layers` blocks, or a folder has no config.json.
    """
    if source in PUBLISHED_SHAPES:
        checked_layers(layers, PUBLISHED_SHAPES[source].n_layer)
        return source
    if Path(source).is_dir():
        name = Path(source).resolve().name
        _read_config(Path(source), name)
        return name
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return source
    import difflib

    close = difflib.get_close_matches(source, PUBLISHED_SHAPES, n=_SUGGESTIONS)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(PUBLISHED_SHAPES)}"
    raise ModelError(f"no model {source!r}: not a published shape, not a folder, not a hub id; {hint}")


def stored_dtype(folder: Path | None) -> torch.dtype:
    """Return the dtype that config.json names for the weights of a checkpoint folder.

    float32 where it names no dtype, and without a folder.
    """
    if folder is None:
        return torch.float32
    config = _read_config(folder, folder.resolve().name)
    named = config.get("dtype") or config.get("torch_dtype")
    return DTYPES.get(str(named), torch.float32)


def _download(repo_id: str, *, trust_remote_code: bool) -> Path:
    """The local snapshot of a hub checkpoint: safetensors where it has them, .bin otherwise."""
    from huggingface_hub import snapshot_download

    small = [*_SMALL_FILES, *(["*.py"] if trust_remote_code else [])]
    try:
        folder = Path(snapshot_download(repo_id, allow_patterns=[*small, "*.safetensors"]))
        if not list(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(repo_id, allow_patterns=[*small, "pytorch_model*.bin"]))
    except Exception as error:
        # huggingface_hub raises its own, httpx's and the operating system's errors here
        raise ModelError(
            f"cannot get {repo_id!r} from the hub: {reason(error)}; "
            "check the id and the network, or give a folder that holds the checkpoint"
        ) from error
    return folder


def _load_folder(
    folder: Path, name: str, layers: int | None, dtype: torch.dtype, *, trust_remote_code: bool
) -> tuple["PreTrainedModel", int]:
    config = _read_config(folder, name)
    if is_original_config(config):
        return load_original(folder, config, name=name, layers=layers, dtype=dtype)
    if "model_type" not in config:
        raise ModelError(
            f"{name}: config.json has neither model_type (transformers) nor ssm_cfg (state-spaces); "
            "is this a Mamba checkpoint?"
        )
    return _load_transformers(folder, name, layers, dtype, trust_remote_code=trust_remote_code)


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{name}: no config.json in this folder; give a checkpoint folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{name}: config.json cannot be read: {reason(error)}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{name}: config.json holds a {type(config).__name__}, not an object")
    return config


def _load_transformers(
    folder: Path, name: str, layers: int | None, dtype: torch.dtype, *, trust_remote_code: bool
) -> tuple["PreTrainedModel", int]:
    import transformers

    import perfmamba.models.bridged  # noqa: F401  # registers the class of models with a bridge

    auto_model: Any = transformers.AutoModelForCausalLM
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        full_layers = int(config.num_hidden_layers)
        config.num_hidden_layers = checked_layers(layers, full_layers)
        model, report = auto_model.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except Exception as error:
        # transformers raises ValueError, OSError, RuntimeError, KeyError and SafetensorError for bad files
        raise ModelError(f"{name}: transformers cannot load this folder: {error}") from error
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:_SUGGESTIONS])
        raise ModelError(
            f"{name}: the checkpoint lacks {len(report['missing_keys'])} weights, such as {missing}"
        )
    return model, full_layers
