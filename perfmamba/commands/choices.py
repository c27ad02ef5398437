"""What the options of several commands can be, known without torch so that `--help` is quick.

Scores and bridges are those of the registries. A test compares the others with what the package offers.
"""

from typing import TYPE_CHECKING, Literal

from perfmamba.pruning.bridge import BRIDGES
from perfmamba.pruning.scores import SCORES

Backend = Literal["hf", "mamba_ssm", "reference", "torch", "triton"]
Mode = Literal["prefill", "decode"]
if TYPE_CHECKING:
    Score = str
    Bridge = str
else:
    Score = Literal[*SCORES]
    Bridge = Literal[*BRIDGES]


def scores_help() -> str:
    """Every score with its label, in a sentence."""
    return "; ".join(f"{score.name}: {score.label}" for score in SCORES.values()) + "."


def bridges_help() -> str:
    """Every bridge with its label, in a sentence."""
    labels = (
        f"{bridge.name}: {bridge.label}{'' if bridge.fits_generation(1) else ' (Mamba-2 only)'}"
        for bridge in BRIDGES.values()
    )
    return "; ".join(labels) + "."
