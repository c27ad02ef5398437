"""Profiles of a model: record them, read them back, and split their time and memory by component."""

from perfmamba.components import BY, By
from perfmamba.profiling.breakdown import Breakdown, BreakdownRow, break_down
from perfmamba.profiling.reader import read_trace
from perfmamba.profiling.trace import Trace

__all__ = ["BY", "Breakdown", "BreakdownRow", "By", "Trace", "break_down", "read_trace"]
