"""Profiles of a model: record them, read them back, and say what each component costs."""

from perfmamba.profiling.breakdown import Breakdown, BreakdownRow, break_down
from perfmamba.profiling.reader import read_trace
from perfmamba.profiling.trace import Trace
from perfmamba.profiling.views import BY, By

__all__ = ["BY", "Breakdown", "BreakdownRow", "By", "Trace", "break_down", "read_trace"]
