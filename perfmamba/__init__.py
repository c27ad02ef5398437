"""PerfMamba: profile Mamba-1 and Mamba-2 models by component, prune their state, and track the cost."""

__version__ = "0.1.0"
