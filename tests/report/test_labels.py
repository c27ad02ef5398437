"""Models by the names that the suites give them."""

import pytest

from perfmamba.report.labels import suite_model


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
