"""The asv plugin that adds the page "Paper tables": Tables 1 and 2 of the paper from the newest results.

Listed in asv.conf.json as `.benchmarks.tables.plugin`; importing it registers the publisher. Every asv
command imports its plugins, so perfmamba is imported only to publish.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asv.publishing import OutputPublisher
from asv.util import UserError

from benchmarks.meter.site.pages import Page, add_page


class PaperTables(OutputPublisher):
    """Writes the page, at `#/tables` and as `tables/index.html`."""

    name = "tables"
    button_label = "Paper tables"
    description = "Tables 1 and 2 of the paper, from the newest results of each machine"
    order = 4  # behind asv's own pages

    @classmethod
    def publish(
        cls,
        conf: Any,
        repo: Any,
        benchmarks: Mapping[str, Mapping[str, Any]],
        graphs: Any,
        revisions: Mapping[str, int],
    ) -> None:
        """Add the page to the site that asv has written to `conf.html_dir`.

        Raises:
            UserError: this Python lacks what perfmamba needs, or asv's index.html has changed.
        """
        try:
            from benchmarks.tables.content import tables_page
            from benchmarks.tables.histories import site_histories
        except ImportError as error:
            message = f"the page of the paper's tables needs perfmamba ({error}): pip install -e '.[bench]'"
            raise UserError(message) from error
        del graphs
        histories = site_histories(conf, repo, benchmarks, revisions)
        page = Page(cls.name, cls.button_label, "Tables 1 and 2 of the paper", tables_page(histories))
        add_page(Path(conf.html_dir), page)
