"""The asv plugin that makes `asv publish` write a site that works without a network.

Listed in asv.conf.json as `.benchmarks.meter.site.plugin`; importing it registers the publisher.
"""

from pathlib import Path
from typing import Any

from asv.publishing import OutputPublisher

from benchmarks.meter.site.offline import carry_assets
from benchmarks.meter.site.repairs import repair_pages


class OfflineSite(OutputPublisher):
    """Carries the scripts that asv's page loads from elsewhere, and repairs asv's pages."""

    name = "offline"
    button_label = "Offline"
    description = "Makes the site work without a network"
    order = 10  # after the publishers that add pages, so that what those load is checked as well

    @classmethod
    def publish(
        cls, conf: Any, repo: Any, benchmarks: dict[str, dict[str, Any]], graphs: Any, revisions: Any
    ) -> None:
        """Change the site that asv has written to `conf.html_dir`."""
        del repo, revisions
        html_dir = Path(conf.html_dir)
        carry_assets(html_dir)
        repair_pages(html_dir, benchmarks, graphs)
