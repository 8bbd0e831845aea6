"""Extract the paper's tables and curves from its PDF into tables.csv and curves.csv."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The PDF, and where to write."""
    parser.add_argument("pdf", type=Path, help="the paper as PMLR publishes it")
    parser.add_argument(
        "--out", type=Path, default=Path("reference/paper"), help="folder (default %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    """Write both files; nothing is written if either cannot be read."""
    from dstcl.reference.curves import CURVE_COLUMNS, curve_rows
    from dstcl.reference.pdf import read_pdf
    from dstcl.reference.tables import TABLE_COLUMNS, table_rows, text_lines
    from dstcl.storage import write_table

    pages, panels = read_pdf(options.pdf)
    tables, curves = table_rows([text_lines(page) for page in pages]), curve_rows(panels)
    write_table(options.out / "tables.csv", TABLE_COLUMNS, tables)
    write_table(options.out / "curves.csv", CURVE_COLUMNS, curves)
    print(f"{options.out}: {len(tables)} cells of tables, {len(curves)} points of curves")
