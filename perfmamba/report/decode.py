"""The decode table: what a smaller state buys where every token moves all of it.

In: pairs of pruned and dense models, measured in turns. Out: a `Table` for each model and backend: tokens per
second, and how many sequences fit into a memory by the size of their states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from perfmamba.errors import InputError
from perfmamba.report.labels import configuration_note, suite_model
from perfmamba.report.pairs import PrunedPair, Setting, measured_pairs, pair_notes
from perfmamba.report.result_entries import result_entry
from perfmamba.table import Column, Entry, Table

_GIGA = 10**9
_COLUMNS = (
    Column("batch", "Batch", "d", is_key=True),
    Column("ratio", "r", "g", is_key=True),
    Column("tokens_per_s", "tokens/s", ",.0f"),
    Column("speedup", "speed-up", ".2f"),
    Column("speedup_low", "low", ".2f"),
    Column("speedup_high", "high", ".2f"),
    Column("state_bytes", "state MB\na sequence", ",.2f", 1e6),
    Column("sequences", "sequences\nthat fit", ",d"),
)


@dataclass(frozen=True)
class _Size:
    """Bytes of a model's weights, and of what it caches for a sequence; both float32."""

    weights: int
    state: int


def decode_tables(pairs: Sequence[PrunedPair], *, memory_gb: float) -> tuple[Table, ...]:
    """A table for each model, backend and configuration.

    Args:
        pairs: of one machine.
        memory_gb: how much memory there is for weights and states, in 10^9 bytes.

    Raises:
        InputError: if no pair is of a decode step, or the memory is not above 0.
    """
    if not memory_gb > 0:
        raise InputError(f"--memory {memory_gb:g}: give a number of gigabytes above 0")
    steps = [
        pair for pair in measured_pairs(pairs) if pair.setting.mode == "decode" and pair.measure == "time"
    ]
    if not steps:
        raise InputError(
            "these results have no decode step of a pruned model; measure some with "
            "`python -m benchmarks.meter.run HEAD --bench DecodeStateSize`"
        )

    def of_one_table(pair: PrunedPair) -> tuple[str, str, str, int]:
        setting = pair.setting
        return setting.configuration, setting.model, setting.backend, setting.seqlen

    ordered = sorted(steps, key=of_one_table)
    return tuple(_table(list(group), memory_gb) for _, group in groupby(ordered, key=of_one_table))


def _table(pairs: Sequence[PrunedPair], memory_gb: float) -> Table:
    setting = pairs[0].setting
    rows: list[tuple[Entry, ...]] = []
    sections = set()
    for batch in sorted({pair.setting.batch for pair in pairs}):
        of_batch = sorted(
            (pair for pair in pairs if pair.setting.batch == batch), key=lambda pair: pair.ratio
        )
        sections.add(len(rows))
        dense = of_batch[0].dense_value
        rows.append((batch, 0.0, _rate(batch, dense), 1.0, None, None, *_room(setting, 0.0, memory_gb)))
        for pair in of_batch:
            rate = result_entry(pair.result, _rate(batch, pair.value))
            speedups = [1 / value if value else None for value in (pair.relative, pair.high, pair.low)]
            rows.append((batch, pair.ratio, rate, *speedups, *_room(setting, pair.ratio, memory_gb)))
    what = f"{setting.model}, {setting.configuration}, {setting.backend}"
    title = f"Decode step after {setting.seqlen} tokens: {what}"
    notes = pair_notes(
        pairs,
        "the speed-up",
        configuration_note([setting.configuration]),
        "tokens/s: the batch over the median of a step.",
        "state: scan states and convolution windows in float32, from shapes.",
        f"sequences that fit: into {memory_gb:g} GB beside the weights, by their states alone.",
    )
    return Table(title, _COLUMNS, tuple(rows), frozenset(sections), notes)


def _rate(batch: int, seconds: float | None) -> float | None:
    return None if not seconds else batch / seconds


def _room(setting: Setting, ratio: float, memory_gb: float) -> tuple[int | None, int | None]:
    """Bytes of a sequence's state, and how many sequences fit; None for a model that is not published."""
    size = _size(setting.model, setting.configuration, ratio)
    if size is None:
        return None, None
    return size.state, max(0, int(memory_gb * _GIGA) - size.weights) // size.state


@cache
def _size(label: str, configuration: str, ratio: float) -> _Size | None:
    """The size of a suite's model, pruned by a ratio; built without memory for its weights."""
    import torch
    import transformers

    from perfmamba.models import PUBLISHED_SHAPES, published_config
    from perfmamba.models.bridged import BridgedMamba2Config
    from perfmamba.pruning.bridge import BRIDGES
    from perfmamba.pruning.expected_sizes import expected_sizes
    from perfmamba.pruning.selection import kept_count

    name, layers = suite_model(label)
    if name not in PUBLISHED_SHAPES:
        return None
    states = kept_count(published_config(name).state_size, ratio)
    if ratio and configuration in BRIDGES:
        dense: Any = published_config(name, layers=layers)
        config: Any = BridgedMamba2Config.of(dense, bridge=BRIDGES[configuration].layout, state_size=states)
    else:
        config = published_config(name, layers=layers, state_size=states)
    auto_model: Any = transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = auto_model.from_config(config)
    sizes = expected_sizes(model, element_bytes=4)
    return None if sizes.state_bytes is None else _Size(4 * sizes.parameters, sizes.state_bytes)
