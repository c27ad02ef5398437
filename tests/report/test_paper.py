"""The paper's Table 1 as it is read."""

import pytest

from perfmamba.components import COMPONENTS
from perfmamba.errors import InputError
from perfmamba.report import paper
from perfmamba.report.paper import PaperCost, paper_table1


def test_every_cell_of_the_grid_is_there_once():
    assert set(paper_table1()) == {
        (seqlen, component, kind) for seqlen in (64, 512, 2048) for component in COMPONENTS for kind in (1, 2)
    }


def test_values_are_those_printed():
    assert paper_table1()[2048, "ssm", 2] == PaperCost(
        flops_g=1566.55, memory_gb=115.68, io_gbps=9.87, latency_ms=51.79
    )
    assert paper_table1()[64, "norm", 1] == PaperCost(
        flops_g=0.06, memory_gb=0.75, io_gbps=0.0016, latency_ms=3.20
    )


def test_the_copy_of_a_wheel_is_read_first(monkeypatch, tmp_path):
    copy = tmp_path / "data" / "table1_component_cost.csv"
    copy.parent.mkdir()
    copy.write_text("# comment\nseqlen\n", encoding="utf-8")
    monkeypatch.setattr(paper, "__file__", str(tmp_path / "paper.py"))
    assert paper._data_file(copy.name) == copy


def test_an_incomplete_installation_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(paper, "__file__", str(tmp_path / "a" / "b" / "paper.py"))
    with pytest.raises(InputError, match="not part of this installation"):
        paper._data_file("table1_component_cost.csv")
