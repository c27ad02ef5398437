import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.meter.asv_plugins import versions as module
from benchmarks.meter.asv_plugins.versions import versions

ROOT = Path(__file__).parents[4]
VERSION_FILE = "from typing import Optional\n__version__ = '2.13.0+cu128'\ncuda: Optional[str] = '12.8'\n"


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch):
    versions.cache_clear()
    yield
    monkeypatch.undo()
    versions.cache_clear()


def test_versions_are_those_that_the_packages_tell():
    import numpy as np
    import torch
    import transformers

    found = versions()
    assert found["python"] == sys.version.split()[0]
    assert (found["numpy"], found["torch"]) == (np.__version__, torch.__version__)
    assert found["transformers"] == transformers.__version__
    assert found["cuda"] == torch.version.cuda


def test_the_packages_whose_kernels_run_and_whose_readings_count_are_named(tmp_path, monkeypatch):
    for folder, name in (("mamba_ssm", "mamba_ssm"), ("causal_conv1d", "causal-conv1d")):
        metadata = tmp_path / f"{folder}-1.6.2.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.6.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = versions()
    assert (found["mamba-ssm"], found["causal-conv1d"]) == ("1.6.2", "1.6.2")
    assert "nvidia-ml-py" in found


def test_cuda_is_that_of_torch_and_the_gpu_has_its_driver(tmp_path, monkeypatch):
    torch = tmp_path / "torch"
    torch.mkdir()
    torch.joinpath("__init__.py").write_text("raise AssertionError('torch was imported')\n")
    torch.joinpath("version.py").write_text(VERSION_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(module, "gpu_name", lambda: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr(module, "driver_version", lambda: "575.57.08")
    found = versions()
    assert (found["cuda"], found["gpu"], found["driver"]) == ("12.8", "NVIDIA A100-SXM4-80GB", "575.57.08")


def test_what_is_not_there_is_none(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    monkeypatch.setattr(module, "gpu_name", lambda: "none")
    monkeypatch.setattr(module, "driver_version", lambda: None)
    found = versions()
    assert [found[name] for name in ("no-such-package", "cuda", "gpu", "driver")] == [None] * 4


def test_nothing_heavy_is_imported():
    code = "import sys\nfrom benchmarks.meter.asv_plugins.versions import versions\nversions()\n"
    code += "assert not {'torch', 'transformers', 'asv'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
