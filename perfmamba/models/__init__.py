"""Models: published shapes, loading, and where their components are."""

from perfmamba.models.annotation import annotate
from perfmamba.models.backends import BACKENDS, running_packages, use_backend
from perfmamba.models.devices import DTYPES, resolve_device, resolve_dtype
from perfmamba.models.loading import LoadedModel, load_model, model_name
from perfmamba.models.mixers import ComponentMap, Mixer, component_map
from perfmamba.models.replay import Replay, component_replays
from perfmamba.models.shapes import PUBLISHED_SHAPES, PublishedShape, published_config

__all__ = [
    "BACKENDS",
    "DTYPES",
    "PUBLISHED_SHAPES",
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
    "resolve_device",
    "resolve_dtype",
    "running_packages",
    "use_backend",
]
