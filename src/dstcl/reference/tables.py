"""The paper's Tables 1 to 4 as rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dstcl.reference.curves import FIGURES
from dstcl.reference.panels import SAME_LINE, LayoutError, Word

TABLE_COLUMNS = (
    *("table", "dataset", "tasks", "init", "density", "growth"),
    *("acc", "acc_pm", "bwt", "bwt_pm", "fwt", "fwt_pm"),
)
MEASURES = TABLE_COLUMNS[-6:]
FIGURE_OF_TABLE = {"1": "2", "2": "3", "3": "4", "4": "5"}
"""Which figure shows the same runs as a table."""
GROWTHS = ("random", "unfired", "gradient", "momentum")
NUMBER = r"-?\d+\.\d+"


def text_lines(page: Sequence[Word]) -> list[str]:
    """The lines of a page from the top, words joined by one space."""
    lines: list[list[Word]] = []
    for word in page:
        if not lines or abs(lines[-1][0].base - word.base) > SAME_LINE:
            lines.append([])
        lines[-1].append(word)
    return [" ".join(word.text for word in line) for line in lines]


def table_rows(pages: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """A row a cell, columns `TABLE_COLUMNS`, of all tables.

    Numbers stay text, with the decimals that are printed.

    Args:
        pages: the lines of each page.

    Raises:
        LayoutError: a line of a table that does not have its numbers, or a table without all lines.
    """
    layouts = {layout.figure: layout for layout in FIGURES}
    rows: list[dict[str, Any]] = []
    for table, init, block in _blocks(pages):
        layout = layouts[FIGURE_OF_TABLE[table]]
        if [line.split()[0] for line in block] != list(GROWTHS):
            raise LayoutError(f"Table {table}, {init}: {len(block)} lines instead of 4")
        for line in block:
            growth, *numbers = [line.split()[0], *re.findall(NUMBER, line)]
            if len(numbers) != len(MEASURES) * len(layout.densities):
                raise LayoutError(f"Table {table}, {init}: {len(numbers)} numbers in {line!r}")
            for place, density in enumerate(layout.densities):
                own = numbers[place * len(MEASURES) : (place + 1) * len(MEASURES)]
                cell = (table, layout.dataset, layout.tasks, init, density, growth)
                rows.append(dict(zip(TABLE_COLUMNS, (*cell, *own))))
    if len(rows) != len(FIGURE_OF_TABLE) * 24:
        raise LayoutError(f"{len(rows)} cells instead of {len(FIGURE_OF_TABLE) * 24}")
    return rows


def _blocks(pages: Sequence[Sequence[str]]) -> Iterator[tuple[str, str, list[str]]]:
    """Table, init and lines of each half of a table; a half begins with its sparsities."""
    for lines in pages:
        table, inits = "", iter([""])
        for place, line in enumerate(lines):
            if caption := re.match(r"Table (\d):", line):
                table, inits = caption.group(1), iter(("uniform", "erk"))
            elif table and re.match(r"sparsity [\d. ]+$", line) and (init := next(inits, None)):
                below = [text for text in lines[place + 1 :] if "±" in text]
                yield table, init, below[: len(GROWTHS)]
