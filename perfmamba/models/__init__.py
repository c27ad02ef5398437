"""Models: published shapes, loading, saving, and where their components are.

Names whose modules need torch are imported when they are first used, so that the command line can read
`BACKENDS` and `PUBLISHED_SHAPES` within milliseconds.
"""

from typing import TYPE_CHECKING, Any

from perfmamba.models.backends import BACKENDS, Backend, running_packages, use_backend
from perfmamba.models.mixers import ComponentMap, Mixer, component_map
from perfmamba.models.replay import Replay, component_replays
from perfmamba.models.shapes import PUBLISHED_SHAPES, PublishedShape, published_config

if TYPE_CHECKING:
    from perfmamba.models.annotation import annotate
    from perfmamba.models.devices import DTYPES, resolve_device, resolve_dtype
    from perfmamba.models.loading import LoadedModel, load_model, model_name, random_model

__all__ = [
    "BACKENDS",
    "DTYPES",
    "PUBLISHED_SHAPES",
    "Backend",
    "ComponentMap",
    "LoadedModel",
    "Mixer",
    "PublishedShape",
    "Replay",
    "annotate",
    "component_map",
    "component_replays",
    "load_model",
    "model_name",
    "published_config",
    "random_model",
    "resolve_device",
    "resolve_dtype",
    "running_packages",
    "use_backend",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from perfmamba.models import annotation, devices, loading

        for module in (annotation, devices, loading):
            if name in vars(module):
                return vars(module)[name]
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
