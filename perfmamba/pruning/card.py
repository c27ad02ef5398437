"""The card of a pruned checkpoint: what was done, in card.json for programs and in README.md for people.

In: facts. Out: text. Neither file names a path of the machine that made the checkpoint.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from perfmamba.models.saving import CheckpointFormat
from perfmamba.pruning.bridge import bridge_named
from perfmamba.pruning.expected_sizes import ExpectedSizes, sizes_table
from perfmamba.pruning.scores import score_named
from perfmamba.table import render

CARD_FILE = "card.json"
_MADE_BY = "perfmamba prune"


@dataclass(frozen=True)
class Card:
    """What a pruned checkpoint is and how it was made.

    Attributes:
        source: the model it was made of.
        weights: where that model's weights came from.
        model_type: transformers' name of the pruned model's kind.
        format: the layout of the checkpoint.
        ratio: the share of states that was to go.
        states: N, the number of states of each group before.
        kept_states: k, the number of states of each group now.
        alignment: what rounding k up to a multiple changed, in words; None if nothing changed.
        score: what ranked the states; None where a bridge mixes all of them.
        ties: how many states stayed or went by their index alone.
        bridge: how the kept states are read.
        seed: of a score that is drawn at random.
        kept: for each layer and group, the states that were kept; None where a bridge mixes all of them.
        lost_output: for each layer, the share of E|C^T h|^2 lost on the calibration data, C and h taken as
            independent; None without such data.
        calibration_tokens: how many tokens the states were measured on; None without such data.
        calibration: what those were.
        before: the expected sizes of the model it was made of, in the dtype of this one.
        after: the expected sizes of this model.
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
    before: ExpectedSizes
    after: ExpectedSizes
    versions: dict[str, str]

    @property
    def title(self) -> str:
        """The model in one line."""
        return f"{self.source}, {self.kept_states} of {self.states} states"

    def lines(self) -> tuple[str, ...]:
        """What was done, one line for each choice."""
        return tuple(filter(None, (*self._choices(), *self._data(), f"made with: {_listed(self.versions)}")))

    def _choices(self) -> tuple[str | None, ...]:
        ties = f"; {self.ties} states tied and went by their index" if self.ties else ""
        seed = f" (seed {self.seed})" if self.score and score_named(self.score).seeded else ""
        return (
            f"source: {self.source}, {self.weights}",
            f"ratio: {self.ratio:g}",
            f"rounding: {self.alignment}" if self.alignment else None,
            f"score: {self.score}{seed}{ties}" if self.score else None,
            f"bridge: {self.bridge} ({bridge_named(self.bridge).label})",
        )

    def _data(self) -> tuple[str | None, ...]:
        if self.calibration_tokens is None:
            return ("calibration: none",)
        calibration = f"calibration: {self.calibration_tokens:,} tokens ({_listed(self.calibration)})"
        if self.lost_output is None:
            return (calibration,)
        mean, worst = sum(self.lost_output) / len(self.lost_output), max(self.lost_output)
        return (calibration, f"output lost on these data: {mean:.2%} a layer, {worst:.2%} in the worst")


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
    sizes = sizes_table(
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

## Expected sizes
{render(sizes, "markdown")}

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
