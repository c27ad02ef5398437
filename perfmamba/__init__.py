"""PerfMamba: profile Mamba-1 and Mamba-2 models by component, prune their state, and track the cost.

This is the Python face of the package; the command line is `perfmamba`.

- `profile` measures a model of yours and says what each component costs.
- `parse` says the same of a trace that any torch profiler wrote.
- `prune` returns a smaller model.
- `use_backend` chooses what runs a model's convolutions and scans.
- `load` loads a model by name, folder or hub id.

Everything is imported at first use: `import perfmamba` imports neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfmamba.api import ParsedTrace, Profile, parse, profile, prune
    from perfmamba.errors import PerfMambaError
    from perfmamba.models import LoadedModel, use_backend
    from perfmamba.models import load_model as load

__version__ = "0.1.0"

__all__ = [
    "LoadedModel",
    "ParsedTrace",
    "PerfMambaError",
    "Profile",
    "load",
    "parse",
    "profile",
    "prune",
    "use_backend",
]

_HOMES = {
    "LoadedModel": ("perfmamba.models", "LoadedModel"),
    "ParsedTrace": ("perfmamba.api", "ParsedTrace"),
    "PerfMambaError": ("perfmamba.errors", "PerfMambaError"),
    "Profile": ("perfmamba.api", "Profile"),
    "load": ("perfmamba.models", "load_model"),
    "parse": ("perfmamba.api", "parse"),
    "profile": ("perfmamba.api", "profile"),
    "prune": ("perfmamba.api", "prune"),
    "use_backend": ("perfmamba.models", "use_backend"),
}
"""Module and name of each public name."""


def __getattr__(name: str) -> object:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
