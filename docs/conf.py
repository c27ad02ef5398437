"""How `nox -s docs` builds these pages with Sphinx. GitHub shows them as they are."""

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

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


def list_what_is_indented(*event: Any) -> None:
    """Make a list of the lines `name: text` that a docstring indents below a sentence, as below "Args:"."""
    lines: list[str] = event[-1]
    for index, line in enumerate(lines):
        opens = line.endswith(":") and " " in line.strip() and not line.startswith(" ")
        if not opens or not lines[index + 1 : index + 2] or not lines[index + 1].startswith("    "):
            continue
        end = next((i for i in range(index + 1, len(lines)) if lines[i] and lines[i][0] != " "), len(lines))
        items = [re.sub(r"^    (\w[\w, ]*):", r"- \1:", text) for text in lines[index + 1 : end]]
        lines[index + 1 : end] = ["", *items, ""]


def setup(app: Any) -> None:
    """Let Sphinx pass docstrings through the function above, before it reads their sections."""
    app.connect("autodoc-process-docstring", list_what_is_indented, priority=400)
