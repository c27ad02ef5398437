import getpass
import gzip
import json
import platform

import pytest
import torch

from perfmamba.errors import InputError
from perfmamba.profiling import read_trace
from perfmamba.profiling.recording import compress_trace, latencies_ms, record_trace

CPU = torch.device("cpu")


def work():
    return torch.ones(8, 8) @ torch.ones(8, 8)


def events_of(path):
    with gzip.open(path) as file:
        return json.load(file)["traceEvents"]


def test_the_window_holds_the_repeats_and_no_warmup(tmp_path):
    path = tmp_path / "trace.json.gz"
    record_trace(work, path, device=CPU, repeat=4)
    matmuls = [event for event in events_of(path) if event.get("name") == "aten::mm"]
    assert len(matmuls) == 4
    assert list(tmp_path.iterdir()) == [path]


def test_shapes_and_memory_are_recorded(tmp_path):
    path = tmp_path / "trace.json.gz"
    record_trace(work, path, device=CPU, repeat=1)
    events = events_of(path)
    assert [event["args"]["Input Dims"] for event in events if event.get("name") == "aten::mm"] == [
        [[8, 8], [8, 8]]
    ]
    trace = read_trace(path)
    assert int(trace.memory.size_bytes[trace.memory.size_bytes > 0].sum()) == 3 * 8 * 8 * 4


def test_a_trace_tells_nothing_of_who_and_where(tmp_path):
    path = tmp_path / "trace.json.gz"
    record_trace(work, path, device=CPU, repeat=1)
    with gzip.open(path, "rt") as file:
        text = file.read()
    assert "host_name" not in text
    assert json.loads(text)["traceName"] == ""
    for secret in (str(tmp_path), f'"{platform.node()}"', f"/{getpass.getuser()}/"):
        assert secret not in text


def test_compressing_keeps_every_event_of_a_large_trace(tmp_path):
    plain, compressed = tmp_path / "plain.json", tmp_path / "trace.json.gz"
    events = [{"ph": "X", "name": f"op {number}", "ts": number} for number in range(100_000)]
    plain.write_text(
        json.dumps({"host_name": "secret", "traceEvents": events, "traceName": "/home/somebody/trace.json"})
    )
    assert plain.stat().st_size > 4 << 20
    compress_trace(plain, compressed)
    with gzip.open(compressed) as file:
        assert json.load(file) == {"traceEvents": events, "traceName": ""}


@pytest.mark.parametrize("filler", range(0, 140_000, 7001))
def test_compressing_a_trace_of_any_size(tmp_path, filler):
    plain, compressed = tmp_path / "plain.json", tmp_path / "trace.json.gz"
    plain.write_text(
        json.dumps({"host_name": "secret", "traceEvents": ["x" * filler], "traceName": "/secret"})
    )
    compress_trace(plain, compressed)
    with gzip.open(compressed) as file:
        assert json.load(file) == {"traceEvents": ["x" * filler], "traceName": ""}


def test_a_folder_that_vanished_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        record_trace(work, tmp_path / "gone" / "trace.json.gz", device=CPU, repeat=1)


def test_every_pass_has_a_latency():
    calls = []
    samples = latencies_ms(lambda: calls.append(1), device=CPU, repeat=5)
    assert len(samples) == len(calls) == 5
    assert all(sample >= 0 for sample in samples)
