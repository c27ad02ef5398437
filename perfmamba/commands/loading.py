"""Models for the verbs that run small ones: from what the options say to models that are ready."""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfmamba.models import LoadedModel


def let_threads_sleep() -> None:
    """Tell OpenMP that threads which wait for each other sleep; call it before torch is imported.

    By default they spin, and beside other work a small model takes many times as long. `profile` measures
    torch as it is, and does not call this.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def loaded_model(
    source: str,
    *,
    backend: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    layers: int | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
) -> "LoadedModel":
    """Load a model as `load_model` does, with device and dtype by name.

    Raises:
        DeviceError: if there is no such device.
        InputError: if there is no such dtype.
        ModelError: as `load_model`.
    """
    from perfmamba.models import load_model, resolve_device, resolve_dtype

    return load_model(
        source,
        layers=layers,
        device=resolve_device(device),
        dtype=resolve_dtype(dtype),
        seed=seed,
        backend=backend,
        trust_remote_code=trust_remote_code,
    )


def loaded_models(
    sources: Iterable[str],
    *,
    backend: str,
    device: str | None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> Iterator[tuple[str, "LoadedModel"]]:
    """Yield each source with its model, loaded when its turn comes; errors as `loaded_model`."""
    for source in sources:
        loaded = loaded_model(
            source, backend=backend, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
        yield source, loaded
