"""Which range holds a moment, and how long a set of intervals covers.

In: spans on threads. Out: indices of spans, or nanoseconds. A span holds the moments from its start to its
end, both included. Of several spans that hold a moment, the innermost is the one that started last; of those
that started at the same time, the shortest; of equally long ones, the last in the file. Spans need not nest:
clocks that round can make them cross.
"""

from array import array

import numpy as np

from perfmamba.profiling.columns import Indices, Integers, Spans

NOTHING = -1
"""The index that stands for no span."""


class RangeIndex:
    """Finds the span that holds a moment on a thread.

    Args:
        spans: the ranges to search; results are indices into them.
    """

    def __init__(self, spans: Spans) -> None:
        self._order = np.lexsort((-spans.end_ns, spans.start_ns, spans.thread))
        self._thread = spans.thread[self._order]
        self._start_ns = spans.start_ns[self._order]
        self._end_ns = spans.end_ns[self._order]
        self._enclosing = _enclosing(self._thread, self._start_ns, self._end_ns)

    def innermost(self, thread: Indices, time_ns: Integers) -> Indices:
        """The innermost span that holds each moment on a thread, or `NOTHING`."""
        found = self._started_last(thread, time_ns)
        # The span that started last may be over. The next candidate is then the span that it began in.
        open_questions = np.flatnonzero(found != NOTHING)
        while len(open_questions):
            candidate = found[open_questions]
            over = self._end_ns[candidate] < time_ns[open_questions]
            open_questions = open_questions[over]
            found[open_questions] = self._enclosing[candidate[over]]
            open_questions = open_questions[found[open_questions] != NOTHING]
        return self._original(found)

    def enclosing(self) -> Indices:
        """The innermost span in which each span began (before the end of the outer one), or `NOTHING`."""
        result = np.empty(len(self._order), np.int32)
        result[self._order] = self._original(self._enclosing)
        return result

    def _started_last(self, thread: Indices, time_ns: Integers) -> Indices:
        """The position of the last span that started at or before each moment on a thread, or `NOTHING`."""
        found = np.full(len(thread), NOTHING, np.int32)
        for present in np.unique(thread):
            asked = np.flatnonzero(thread == present)
            first, end = np.searchsorted(self._thread, (present, present + 1))
            last = np.searchsorted(self._start_ns[first:end], time_ns[asked], side="right")
            last += first - 1
            last[last < first] = NOTHING
            found[asked] = last
        return found

    def _original(self, sorted_index: Indices) -> Indices:
        original = np.full(len(sorted_index), NOTHING, np.int32)
        known = sorted_index != NOTHING
        original[known] = self._order[sorted_index[known]]
        return original


def self_time_ns(spans: Spans) -> Integers:
    """Each span's duration minus the time covered by the spans directly inside it."""
    parent = RangeIndex(spans).enclosing()
    inside = np.flatnonzero(parent != NOTHING)
    outer = parent[inside]
    covered_ns = np.minimum(spans.end_ns[inside], spans.end_ns[outer]) - spans.start_ns[inside]
    result = spans.duration_ns.copy()
    np.subtract.at(result, outer, covered_ns)
    return result


def union_ns(start_ns: Integers, end_ns: Integers) -> int:
    """The time in which at least one of the intervals is running, in nanoseconds."""
    if not len(start_ns):
        return 0
    order = np.argsort(start_ns)
    start_ns, covered_until = start_ns[order], np.maximum.accumulate(end_ns[order])
    idle_ns = np.maximum(start_ns[1:] - covered_until[:-1], 0).sum()
    return int(covered_until[-1] - start_ns[0] - idle_ns)


def _enclosing(thread: Indices, start_ns: Integers, end_ns: Integers) -> Indices:
    """The position of the span in which each span began; spans are sorted by thread, then by start."""
    result = array("i")
    open_spans: list[tuple[int, int]] = []  # (end, position), the innermost last
    current = None
    # `.data` yields integers one at a time: a list of a column would take four times its memory.
    columns = zip(thread.data, start_ns.data, end_ns.data, strict=True)
    for position, (its_thread, start, end) in enumerate(columns):
        if its_thread != current:
            current = its_thread
            open_spans.clear()
        while open_spans and open_spans[-1][0] <= start:
            open_spans.pop()
        result.append(open_spans[-1][1] if open_spans else NOTHING)
        open_spans.append((end, position))
    return np.asarray(result)
