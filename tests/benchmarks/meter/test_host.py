"""What the meter knows of its host by itself."""

import gc
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from asv import util

from benchmarks.meter import host
from benchmarks.meter.host import (
    commit_of,
    cpu_name,
    first_line,
    is_out_of_memory,
    out_of_memory_reason,
    replacing,
    without_gc,
)

ROOT = Path(__file__).parents[3]


def test_a_tensor_that_does_not_fit_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(10**15)
    with pytest.raises(RuntimeError) as mismatch:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert is_out_of_memory(too_large.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(mismatch.value)
    assert not is_out_of_memory(ValueError("can't allocate memory"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuFFT error: CUFFT_ALLOC_FAILED",
    ],
)
def test_libraries_say_in_their_own_words_that_memory_is_short(text):
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))


def test_shared_memory_of_a_kernel_is_another_matter():
    """No smaller tensor helps there."""
    text = "out of resource: shared memory, Required: 264192, Hardware limit: 101376."
    assert not is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one \ntwo"), "one"),
        (KeyError(), "KeyError"),
        (RuntimeError(" \n "), "RuntimeError"),
    ],
)
def test_an_error_in_one_line(error, line):
    assert first_line(error) == line
    assert out_of_memory_reason(error) == f"out of memory: {line}"


def test_a_file_is_written_whole_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail():
        with replacing(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_off_in_the_block_and_as_before_after_it(enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with without_gc():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_the_cpu_has_the_name_that_asv_gives_it():
    """Results of earlier runs are filed under it."""
    assert cpu_name() == (util.get_cpu_info() or platform.machine())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name\t: Fast CPU @ 2 GHz \nmodel name : other\n", "Fast CPU @ 2 GHz"),
        ("processor : 0\nCPU part : 0xd0c\n", "machine"),
        (None, "machine"),
    ],
)
def test_a_cpu_without_a_name_is_called_by_its_architecture(monkeypatch, tmp_path, text, name):
    file = tmp_path / "cpuinfo"
    if text:
        file.write_text(text)
    monkeypatch.setattr(host, "_CPU_FILE", file)
    monkeypatch.setattr(platform, "machine", lambda: "machine")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cpu_name() == name


def test_a_commit_is_marked_when_files_differ_from_it(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    assert commit_of(tmp_path) is None
    git("init", "--quiet")
    file = tmp_path / "file"
    file.write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message", "One")
    git("tag", "--annotate", "--message", "1", "v1")
    assert commit_of(tmp_path) == git("rev-parse", "HEAD")
    file.write_text("two")
    assert commit_of(tmp_path) == f"{git('rev-parse', 'HEAD')}-dirty"


def test_torch_and_asv_are_not_imported():
    code = "import sys, benchmarks.meter.host; assert not {'torch', 'asv'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
