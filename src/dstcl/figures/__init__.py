"""Figures of a study: one module each, drawn from its tables alone.

Parsing a Snakefile imports this file, so matplotlib and pandas are imported inside the function,
and a caption is read from the text of its module.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

FIGURES = (
    "claims",
    "paper_panels",
    "protocols",
    "ablation",
    "accuracy_over_tasks",
    "accuracy_matrix",
    "capacity",
    "layer_densities",
    "accuracy_over_capacity",
    "mask_overlap",
    "explored",
    "decisions",
    "ranking",
    "baselines",
    "costs",
    "tradeoffs",
)
"""In the order of the report; each is a module with `CAPTION` and ``draw(tables)``."""
PIXELS = 300
"""Per inch of what a PDF for a manuscript holds as pixels."""
NOT_DRAWN = "not_drawn"
"""The only column of a figure's CSV where there is nothing to draw: the reason."""


@cache
def caption(name: str) -> str:
    """What a reader sees below a figure: `CAPTION` of its module, which is not imported.

    Raises:
        ValueError: an unknown figure.
    """
    _check(name)
    for node in ast.parse(Path(__file__).with_name(f"{name}.py").read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CAPTION":
            return str(ast.literal_eval(node.value))
    raise ValueError(f"figure {name} has no CAPTION")


def draw_figure(name: str, study: Path, dpi: int) -> None:
    """Write ``study/figures/<name>`` as .svg, .pdf and .png, and the numbers drawn as .csv.

    The same tables give the same bytes. ``dpi`` is the resolution of the PNG. Where the study has
    nothing to show, the figure says why, and so does the CSV: its only column is ``not_drawn``.

    Raises:
        ValueError: an unknown figure, or a table or a column that is missing.
    """
    _check(name)
    from importlib import import_module

    from dstcl.evaluation.made_from import made_from
    from dstcl.figures.panels import figure_of_words
    from dstcl.figures.style import applied_style, rendered
    from dstcl.figures.tables import NotDrawnError, Tables
    from dstcl.storage import write_bytes

    tables = Tables(study)
    with applied_style():
        try:
            figure, numbers = import_module(f"dstcl.figures.{name}").draw(tables)
        except NotDrawnError as reason:
            figure, numbers = figure_of_words(str(reason))
        files = rendered(figure, dpi, made_from(study, sorted(tables.read)))
    files["csv"] = numbers.to_csv(index=False, lineterminator="\n").encode()
    # The SVG last: what it was made from holds for all four.
    for suffix in sorted(files, key=lambda suffix: suffix == "svg"):
        write_bytes(study / "figures" / f"{name}.{suffix}", files[suffix])


def figure_pdf(name: str, study: Path, width_mm: float) -> bytes | None:
    """One figure of a study as PDF; None where it has nothing that the figure could show.

    Args:
        name: of the figure.
        study: folder with tables.
        width_mm: of the figure; type keeps its size.

    Raises:
        ValueError: as of `draw_figure`.
    """
    _check(name)
    from importlib import import_module

    from dstcl.figures.style import applied_style, rendered
    from dstcl.figures.tables import NotDrawnError, Tables

    with applied_style(width_mm):
        try:
            figure, _ = import_module(f"dstcl.figures.{name}").draw(Tables(study))
        except NotDrawnError:
            return None
        return rendered(figure, PIXELS)["pdf"]


def _check(name: str) -> None:
    if name not in FIGURES:
        raise ValueError(f"unknown figure {name!r}; known: {', '.join(FIGURES)}")
