"""Profiles of a model: record them, read them back, and say what each component costs."""

from perfmamba.profiling.reader import read_trace
from perfmamba.profiling.trace import Trace

__all__ = ["Trace", "read_trace"]
