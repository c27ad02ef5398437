"""What read_trace makes of whole, odd and broken files."""

import gzip
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmamba.errors import TraceError
from perfmamba.profiling import break_down, read_trace

OP = '{"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 1, "tid": 1, "ts": %s, "dur": 2.500}'
WHOLE = (
    '{"schemaVersion": 1, "traceEvents": [' + ", ".join(OP % f"{i}.000" for i in range(5)) + '], "last": [1]}'
)


@pytest.fixture
def write(tmp_path):
    def write(content, name="trace.json"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(path, **options):
    with pytest.raises(TraceError) as caught:
        read_trace(path, **options)
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return caught.value


def test_columns_and_metadata(write):
    trace = read_trace(write(WHOLE))
    assert trace.metadata == {"schemaVersion": 1, "last": [1]}
    assert trace.ops.start_ns.tolist() == [0, 1000, 2000, 3000, 4000]
    assert set(trace.ops.duration_ns.tolist()) == {2500}
    assert [trace.names[name] for name in trace.ops.name] == ["aten::add"] * 5
    assert trace.cut_at is None


def test_gzip_is_told_by_content_not_by_name(write):
    path = write(gzip.compress(WHOLE.encode()), "trace.json")
    assert len(read_trace(path).ops) == 5
    assert len(read_trace(write(WHOLE, "trace.json.gz")).ops) == 5


def test_gzip_of_several_members(write):
    half = len(WHOLE) // 2
    text = gzip.compress(WHOLE[:half].encode()) + gzip.compress(WHOLE[half:].encode())
    assert len(read_trace(write(text)).ops) == 5


@pytest.mark.parametrize("text", ['{"traceEvents": []}', "[]", " \n[ ]\n ", "\ufeff[]"])
def test_empty_lists_of_events_are_traces(write, text):
    trace = read_trace(write(text))
    assert break_down(trace).total.time_ns == 0


@pytest.mark.parametrize("whole", [0, 2**42 - 1, 2**42, 4466195121493, 2**43 - 1, 2**43, 1712195495519689])
def test_every_nanosecond_of_a_microsecond_is_exact(write, whole):
    events = [OP % f"{whole}.{fraction:03d}" for fraction in range(1000)]
    start_ns = read_trace(write(f"[{','.join(events)}]")).ops.start_ns
    assert (start_ns == whole * 1000 + np.arange(1000)).all()


@pytest.mark.parametrize("buffer_bytes", [1 << 10, 1 << 18])
def test_time_stamps_that_outgrow_a_double_in_the_middle_of_a_file(write, buffer_bytes):
    whole = [*range(2**43 - 50, 2**43 + 50), 7]
    events = ",".join(OP % f"{microseconds}.001" for microseconds in whole)
    ops = read_trace(write(f"[{events}]"), buffer_bytes=buffer_bytes).ops
    assert ops.start_ns.tolist() == [microseconds * 1000 + 1 for microseconds in whole]
    assert set(ops.duration_ns.tolist()) == {2500}


def test_integer_timestamps_in_strings_of_threads_of_2021(write):
    events = [
        {"ph": "X", "cat": "Operator", "name": "a", "pid": 7, "tid": "7", "ts": 1623143093496523, "dur": 5},
        {"ph": "i", "s": "t", "name": "[memory]", "pid": 7, "tid": 7, "ts": 1623143093496524,
         "args": {"Device Type": 0, "Device Id": -1, "Bytes": 4}},
    ]  # fmt: skip
    trace = read_trace(write(json.dumps(events)))
    assert trace.threads == ((7, 7),)
    assert trace.memory.time_ns.tolist() == [1623143093496524000]
    row = break_down(trace, "op").rows[0]
    assert (row.allocated_bytes, row.peak_bytes, row.escaped_bytes) == (4, 4, None)


def test_rocm_traces_with_numbers_in_strings(write):
    events = [
        {"ph": "X", "cat": "cuda_runtime", "name": "hipLaunchKernel", "pid": 1, "tid": 1, "ts": 1, "dur": 1,
         "args": {"correlation": "5"}},
        {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 0, "ts": 2, "dur": 3,
         "args": {"correlation": 5, "bytes": "123"}},
        {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 1, "tid": 1, "ts": 2,
         "args": {"Bytes": "64", "Addr": 9, "Total Allocated": 64, "Device Type": 6, "Device Id": 0}},
    ]  # fmt: skip
    breakdown = break_down(read_trace(write(json.dumps(events))))
    assert breakdown.device == "hip"
    assert breakdown.total.time_ns == 3000
    assert breakdown.total.allocated_bytes == 64


@pytest.mark.parametrize("buffer_bytes", [1, 7, 64, 1 << 18])
def test_one_odd_event_does_not_hide_its_neighbours(write, buffer_bytes):
    odd = '{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "x"}}'
    nan = '{"ph": "X", "cat": "new", "pid": 1, "tid": 1, "ts": 1, "args": {"occupancy": NaN}}'
    text = f"[{OP % 1}, {odd}, {OP % 2}, {nan}, {OP % 3}]"
    assert len(read_trace(write(text), buffer_bytes=buffer_bytes).ops) == 3


def test_missing_file(tmp_path):
    assert "no such file" in str(refusal(tmp_path / "absent.json"))


def test_directory(tmp_path):
    assert "directory" in str(refusal(tmp_path))


def test_no_permission(write, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = write(WHOLE)
    monkeypatch.setattr("pathlib.Path.open", deny)
    assert "permission" in str(refusal(path))


@pytest.mark.parametrize(
    ("content", "message", "offset"),
    [
        (b"", "empty", 0),
        (b"   ", "truncated", 3),
        (WHOLE.encode("utf-16"), "UTF-16", 0),
        (WHOLE.encode("utf-16-le"), "UTF-16", 0),
        (b"\x89PNG\r\n", "not UTF-8", 0),
        (b"hello", "not a trace", 0),
        (b'"text"', "not a trace", 0),
        (b"{}", "without traceEvents", 2),
        (b'{"a": {"traceEvents": []}}', "without traceEvents", 26),
        (b'{"traceEvents": 5}', "not a list", 16),
        (b'{"traceEvents": {"a": 1}}', "not a list", 16),
        (b"[1, 2]", "not a trace", 1),
        (b'[{"a": 1}]', "not a trace", 1),
        (b'[{"ph": "X", "cat": "cpu_op", "name": "x"}]', "wrong form", 1),
        (b'[{"ph": "X", "cat": "cpu_op" "name": "x"}]', "not JSON", 29),
        (f"[{OP % '1e400'}]".encode(), "wrong form", 1),
        (f"[{OP % '1'}, {OP % '1e16'}]".encode(), "wrong form", len(OP) + 2),
        (f"[{OP % '1e999999999'}]".encode(), "wrong form", 1),
        (f"[{OP % 'NaN'}, {OP % '1'}]".encode(), "wrong form", 1),
        (b'{"a": tru, "traceEvents": []}', "not JSON", 6),
        (b'{"traceEvents": []} x', "more text", 20),
        (b'{"traceEvents": [] "a": 1}', "not JSON", 19),
        (b'{"traceEvents" []}', "not JSON", 15),
        (b'{"a": ' + b"[" * 100_000, "maximum recursion", 6),
        ('[{"ph": "M", "name": "\u03bb\u03bb"}, {"ph" 1}]'.encode(), "not JSON", 36),
        (b'[{"ph": "X", "cat": "cpu_op", "name": "\xff"}]', "not UTF-8", 39),
    ],
)
def test_not_a_trace(write, content, message, offset):
    error = refusal(write(content))
    assert message in str(error)
    assert error.offset == offset


@pytest.mark.parametrize("buffer_bytes", [3, 50, 1 << 18])
@pytest.mark.parametrize("broken", ['{"ph" 5}', '{"ph": X}', "}", "null"])
def test_the_offset_of_a_syntax_error_counts_from_the_start_of_the_text(write, broken, buffer_bytes):
    before = "[" + (OP % "1.000" + ", ") * 20
    after = (", " + OP % "2.000") * 20 + "]"
    error = refusal(write(before + broken + after), buffer_bytes=buffer_bytes)
    assert len(before) <= error.offset <= len(before) + len(broken)


@given(cut=st.integers(1, len(WHOLE) - 1), buffer_bytes=st.integers(1, 300))
def test_a_cut_anywhere_is_noticed_where_it_is(tmp_path_factory, cut, buffer_bytes):
    path = tmp_path_factory.getbasetemp() / "cut.json"
    for content in (WHOLE[:cut].encode(), gzip.compress(WHOLE[:cut].encode())):
        path.write_bytes(content)
        error = refusal(path, buffer_bytes=buffer_bytes)
        assert "truncated" in str(error)
        assert error.offset == cut


@given(cut=st.integers(WHOLE.index("[") + 1, len(WHOLE) - 1), buffer_bytes=st.integers(1, 300))
def test_partial_keeps_the_events_that_are_whole(tmp_path_factory, cut, buffer_bytes):
    path = tmp_path_factory.getbasetemp() / "partial.json"
    path.write_text(WHOLE[:cut])
    trace = read_trace(path, partial=True, buffer_bytes=buffer_bytes)
    assert len(trace.ops) == WHOLE[:cut].count("}")
    assert trace.cut_at == cut
    assert any(f"truncated: read up to byte {cut}" in note for note in break_down(trace).notes)


def test_partial_does_not_make_a_trace_of_a_header(write):
    assert "truncated" in str(refusal(write('{"schemaVersion": 1, "traceEv'), partial=True))


@pytest.mark.parametrize("keep", [12, 100, -9, -1])
def test_a_cut_gzip_file(write, keep):
    packed = gzip.compress(WHOLE.encode(), compresslevel=0)
    path = write(packed[:keep])
    assert "truncated" in str(refusal(path))
    if keep < 0:
        assert len(read_trace(path, partial=True).ops) == 5


def test_corrupt_gzip(write):
    packed = bytearray(gzip.compress(WHOLE.encode()))
    packed[-6] ^= 0xFF
    assert "corrupt" in str(refusal(write(bytes(packed))))


def test_memory_does_not_grow_with_the_text(write):
    """Ten thousand events that no column keeps: what is allocated at once stays below 20 buffers."""
    ignored = '{"ph": "s", "cat": "ac2g", "name": "ac2g", "id": 5, "pid": 1, "tid": 1, "ts": 5.000}'
    path = write("[" + ",\n".join([ignored] * 50_000) + "]")
    tracemalloc.start()
    read_trace(path, buffer_bytes=1 << 14)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 4_000_000
    assert peak_bytes < 500_000
