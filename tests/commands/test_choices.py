"""The choices of the command line are those of the package."""

from typing import get_args

from perfmamba.commands import choices
from perfmamba.models import BACKENDS
from perfmamba.profiling.counts.model import Mode
from perfmamba.pruning.bridge import BRIDGES
from perfmamba.pruning.scores import SCORES


def test_choices_are_what_the_package_offers():
    assert get_args(choices.Backend) == tuple(BACKENDS)
    assert get_args(choices.Score) == tuple(SCORES)
    assert get_args(choices.Bridge) == tuple(BRIDGES)
    assert choices.Mode == Mode
