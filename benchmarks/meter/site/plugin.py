"""The asv plugin that makes `asv publish` write a site that works without a network.

Listed in asv.conf.json as `.benchmarks.meter.site.plugin`; importing it registers the publisher.
"""

from pathlib import Path

from asv.publishing import OutputPublisher

from benchmarks.meter.site.graph_page import repair_graph_page
from benchmarks.meter.site.offline import carry_assets


class OfflineSite(OutputPublisher):
    """Carries the scripts that asv's page loads from elsewhere, and repairs its graph page."""

    name = "offline"
    button_label = "Offline"
    description = "Makes the site work without a network"
    order = 10  # after the publishers that add pages, so that what those load is checked as well

    @classmethod
    def publish(cls, conf, *_results):
        """Change the site that asv has written to `conf.html_dir`."""
        carry_assets(Path(conf.html_dir))
        repair_graph_page(Path(conf.html_dir))
