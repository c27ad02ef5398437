import sys

import pytest

from benchmarks.experiments import overhead


def test_what_is_paid_once_is_told_from_what_each_cell_costs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["overhead", "--cells", "11"])
    monkeypatch.setattr(overhead, "run_seconds", lambda cells: 5 + 0.2 * cells)
    overhead.main()
    assert capsys.readouterr().out == (
        "asv run of 1 cell: 5.20 s, of 11 cells: 7.20 s\n"
        "that is 0.655 s a cell, 0.200 s for each further one\n"
    )


def test_one_cell_has_no_further_one(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["overhead", "--cells", "1"])
    with pytest.raises(SystemExit) as exit_:
        overhead.main()
    assert exit_.value.code == 2
    assert "--cells must be 2 at least, not 1" in capsys.readouterr().err
