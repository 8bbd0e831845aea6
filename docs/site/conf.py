"""How Sphinx builds the documentation from the pages that pages.py writes."""

from __future__ import annotations

import re
from typing import Any

project = "dstcl"
author = "The dstcl developers"
copyright = "The dstcl developers, MIT licence"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "furo"
html_title = "dstcl"
html_show_sourcelink = False
myst_heading_anchors = 4
napoleon_numpy_docstring = False
autodoc_typehints = "description"
default_role = "code"

SECTION = re.compile(r"[A-Z]\w+:$")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    # Before napoleon, which reads sections.
    app.connect("autodoc-process-docstring", mark_examples, priority=1)


def mark_examples(
    app: Any, what: str, name: str, found: object, options: Any, lines: list[str]
) -> None:
    """Indented lines after a paragraph are code, in docstrings as in Markdown."""
    marked: list[str] = []
    paragraph = ""
    for before, line in zip(["", *lines], lines):
        if line.startswith("    ") and not before and paragraph and not SECTION.match(paragraph):
            marked += [".. code-block:: python", ""]
            paragraph = ""
        elif line and not line.startswith(" "):
            paragraph = line
        marked.append(line)
    lines[:] = marked
