"""Devices and dtypes by name, checked before any work starts."""

import torch

from perfmamba.errors import DeviceError, InputError

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def resolve_device(name: str | None) -> torch.device:
    """The device of that name; None picks the GPU when there is one.

    Raises:
        DeviceError: if the name is not one of torch's, or the device is not on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}; use cpu, cuda or cuda:INDEX") from None
    if device.type not in {"cpu", "cuda"}:
        raise DeviceError(f"device {name!r} is not supported; use cpu, cuda or cuda:INDEX")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {name!r} is not available: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices here; use --device cpu"
        )
    return device


def resolve_dtype(name: str) -> torch.dtype:
    """The dtype of that name.

    Raises:
        InputError: if it is not a key of `DTYPES`.
    """
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}; use one of {', '.join(DTYPES)}")
    return DTYPES[name]
