"""Analyse how the paper's numbers were made, and write the figure and tables of that page."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_shipped
from dstcl.shipped import PAPER, nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The numbers, where to draw, and the page."""
    what = f"folder with tables.csv and curves.csv (default: {PAPER}, or else the package's copy)"
    add_shipped(parser, "--numbers", lambda: nearest(PAPER), what)
    parser.add_argument(
        "--out", type=Path, default=Path("docs/images"), help="folder (default %(default)s)"
    )
    parser.add_argument("--page", type=Path, help="page whose tables of numbers are written again")
    parser.add_argument(
        "--dpi", type=int, default=150, help="resolution of the PNG (default %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    """Write paper-forensics.png and .svg, and the page if one is named."""
    from dstcl.evaluation.paper.reference import read_curves, read_tables
    from dstcl.reference.drawing import NAME, draw
    from dstcl.reference.page import with_numbers
    from dstcl.storage import write_bytes, write_text

    tables = read_tables(options.numbers / "tables.csv")
    curves = read_curves(options.numbers / "curves.csv")
    page = with_numbers(options.page.read_text(), tables, curves) if options.page else None
    files = draw(tables, curves, options.dpi)
    for suffix in ("png", "svg"):
        write_bytes(options.out / f"{NAME}.{suffix}", files[suffix])
    if page is not None:
        write_text(options.page, page)
