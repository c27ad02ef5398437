"""How `nox -s docs` builds these pages with Sphinx. GitHub shows them as they are."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

project = "PerfMamba"
author = "the PerfMamba developers"
release = metadata.version("perfmamba")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

myst_heading_anchors = 3  # links such as page.md#a-heading, as on GitHub
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
default_role = "code"  # `names` in docstrings are code, as in Markdown

html_theme = "furo"
html_title = "PerfMamba"
html_copy_source = False
