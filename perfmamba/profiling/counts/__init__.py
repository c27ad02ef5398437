"""FLOPs and bytes of each component, computed from shapes alone, without torch."""

from perfmamba.profiling.counts.dimensions import (
    COUNTED_MODELS,
    Dimensions,
    Mamba1Dimensions,
    Mamba2Dimensions,
    dimensions,
)
from perfmamba.profiling.counts.layers import Count
from perfmamba.profiling.counts.model import Mode, ModelCount, count
from perfmamba.profiling.counts.scans import SSD_FORMS, SsdForm

__all__ = [
    "COUNTED_MODELS",
    "SSD_FORMS",
    "Count",
    "Dimensions",
    "Mamba1Dimensions",
    "Mamba2Dimensions",
    "Mode",
    "ModelCount",
    "SsdForm",
    "count",
    "dimensions",
]
