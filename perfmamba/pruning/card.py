"""What was done to a checkpoint, told with it: card.json for programs, README.md for people.

In: facts. Out: text. No path of the machine that made the checkpoint is in either.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from perfmamba.models.saving import CheckpointFormat
from perfmamba.pruning.bridge import RIDGE
from perfmamba.pruning.cost import ExpectedCost
from perfmamba.report.pruning import cost_table
from perfmamba.table import render

CARD_FILE = "card.json"
_MADE_BY = "perfmamba prune"


@dataclass(frozen=True)
class Card:
    """What a pruned checkpoint is and how it came about.

    Attributes:
        source: the model it was made of.
        weights: where that model's weights came from.
        model_type: transformers' name of the pruned model's kind.
        format: the layout of the checkpoint.
        ratio: the share of states that was to go.
        states: N, the states of each group before.
        kept_states: k, the states of each group now.
        alignment: what rounding k to a multiple changed, in words; None if nothing.
        score: what ranked the states; None where a bridge mixes all of them.
        ties: states that stayed or went by their index alone.
        bridge: how the kept states are read.
        seed: of random scores.
        kept: for each layer and group, the states that were kept; None where a bridge mixes all of them.
        lost_output: for each layer, the share of E|C^T h|^2 lost on the calibration data, C and h taken as
            independent; None without such data.
        calibration_tokens: how many tokens the states were measured on; None if on none.
        calibration: what those were.
        before: the cost of the model it was made of, in the dtype of this one.
        after: its own.
        versions: of the packages that made it, and the commit of perfmamba.
    """

    source: str
    weights: str
    model_type: str
    format: CheckpointFormat
    ratio: float
    states: int
    kept_states: int
    alignment: str | None
    score: str | None
    ties: int
    bridge: str
    seed: int
    kept: tuple[list[list[int]], ...] | None
    lost_output: tuple[float, ...] | None
    calibration_tokens: int | None
    calibration: dict[str, str]
    before: ExpectedCost
    after: ExpectedCost
    versions: dict[str, str]

    @property
    def title(self) -> str:
        """The model in one line."""
        return f"{self.source}, {self.kept_states} of {self.states} states"

    def lines(self) -> tuple[str, ...]:
        """What was done, a line for each choice."""
        return tuple(filter(None, (*self._choices(), *self._data(), f"made with: {_listed(self.versions)}")))

    def _choices(self) -> tuple[str | None, ...]:
        ties = f"; {self.ties} states tied and went by their index" if self.ties else ""
        seed = f" (seed {self.seed})" if self.score == "random" else ""
        return (
            f"source: {self.source}, {self.weights}",
            f"ratio: {self.ratio:g}",
            f"rounding: {self.alignment}" if self.alignment else None,
            f"score: {self.score}{seed}{ties}" if self.score else None,
            f"bridge: {_BRIDGES[self.bridge]}",
        )

    def _data(self) -> tuple[str | None, ...]:
        if self.calibration_tokens is None:
            return ("calibration: none",)
        calibration = f"calibration: {self.calibration_tokens:,} tokens ({_listed(self.calibration)})"
        if self.lost_output is None:
            return (calibration,)
        mean, worst = sum(self.lost_output) / len(self.lost_output), max(self.lost_output)
        return (calibration, f"output lost on these data: {mean:.2%} a layer, {worst:.2%} in the worst")


_BRIDGES = {
    "none": "none (what was removed counts as zero)",
    "lstsq": "lstsq (all states are estimated from the kept ones by least squares, on correlations with "
    f"{RIDGE:g} added to their diagonal)",
    "balanced": "balanced (B and C are projected to the directions that matter most for the output)",
}


def write_card(card: Card, folder: Path) -> None:
    """Write card.json and README.md."""
    facts = {"made_by": _MADE_BY, **asdict(card)}
    (folder / CARD_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(card), encoding="utf-8")


def is_pruned_checkpoint(folder: Path) -> bool:
    """Whether `write_card` wrote a card into a folder."""
    try:
        facts = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("made_by") == _MADE_BY


def _readme(card: Card) -> str:
    costs = cost_table(
        card.before,
        card.after,
        title="Counted from the shapes. Times depend on the kernels that run the model.",
    )
    done = "\n".join(f"- {line}" for line in card.lines())
    return f"""---
tags: [{card.model_type}, pruned, perfmamba]
---
# {card.title}

Made by `{_MADE_BY}`; `{CARD_FILE}` says the same for programs.

## What was done
{done}

## What it should cost
{render(costs, "markdown")}

## How to load it
```python
{_loading(card)}
```
"""


def _loading(card: Card) -> str:
    if card.format == "mamba_ssm":
        return """from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel

model = MambaLMHeadModel.from_pretrained("THIS FOLDER", device="cuda")"""
    if card.model_type == "perfmamba_mamba2":
        return """import perfmamba.models.bridged  # registers the model's class
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("THIS FOLDER")
# without perfmamba, by the code in this folder, with transformers 5.17 or newer:
model = AutoModelForCausalLM.from_pretrained("THIS FOLDER", trust_remote_code=True)"""
    return """from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("THIS FOLDER")"""


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
