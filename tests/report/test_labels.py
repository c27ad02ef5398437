"""Models and configurations by the names that the suites give them."""

import pytest

from perfmamba.report.labels import configuration_note, suite_model


@pytest.mark.parametrize(
    ("label", "model"),
    [
        ("mamba-130m-2layers", ("mamba-130m", 2)),
        ("mamba2-2.7b", ("mamba2-2.7b", None)),
        ("2layers", ("2layers", None)),
    ],
)
def test_models_that_were_cut_say_so_in_their_name(label, model):
    assert suite_model(label) == model


def test_a_configuration_that_is_a_bridge_says_so():
    note = configuration_note(["pruned", "balanced"])
    assert note == "pruned: states removed; balanced: states removed, the others read through this bridge."
