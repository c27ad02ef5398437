"""Where the parts of Table 2 lead on asv's site: to the graph of a value, a row or a column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.meter.site.links import graph_link
from benchmarks.tables.histories import Address
from benchmarks.tables.suites import PAIRED_TIME
from perfmamba.report.asv_results import ResultHistory
from perfmamba.report.pairs import PrunedPair

_VARIANT = ("backend", "configuration")
"""The parameters that tell the rows of a length from each other."""


@dataclass(frozen=True)
class SitePairLinks:
    """The addresses in one history.

    Attributes:
        history: of one setting.
        address: what a link must name to show this history only.
    """

    history: ResultHistory
    address: Address

    def of_pair(self, pair: PrunedPair) -> str:
        """The history of a value over commits."""
        return self._link(pair.benchmark, pair, _of(pair, *_VARIANT, "seqlen", "ratio"))

    def of_row(self, pair: PrunedPair) -> str:
        """The times of a row over ratios."""
        return self._link(PAIRED_TIME, pair, _of(pair, *_VARIANT, "seqlen"), x_axis="ratio")

    def of_ratio(self, pair: PrunedPair) -> str:
        """The values of a column over lengths, every backend and configuration."""
        axes = self.history.axes(pair.benchmark)
        chosen = {**{name: axes[name] for name in _VARIANT}, "ratio": pair.parameters["ratio"]}
        return self._link(pair.benchmark, pair, chosen, x_axis="seqlen")

    def _link(
        self,
        benchmark: str,
        pair: PrunedPair,
        chosen: Mapping[str, str | Sequence[str]],
        *,
        x_axis: str = "",
    ) -> str:
        """A graph with the parameters held that the pair's table has in common, and the chosen ones."""
        common = [name for name in pair.parameters if name not in {*_VARIANT, "seqlen", "ratio"}]
        held = {**_of(pair, *common), **chosen}
        return graph_link(
            benchmark, chosen=held, setting=self.address, x_axis=x_axis, log_y=x_axis == "seqlen"
        )


def _of(pair: PrunedPair, *names: str) -> dict[str, str]:
    return {name: pair.parameters[name] for name in names}
