"""Write a study's figures and LaTeX tables for a manuscript."""

from __future__ import annotations

import argparse

from dstcl.cli.options import add_study

LEAST, MOST = 100, 250


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and how wide the text of the manuscript is."""
    add_study(parser)
    what = "text width of the manuscript in mm (default %(default)s)"
    parser.add_argument("--width", type=_width, default=140.0, metavar="MM", help=what)


def run(options: argparse.Namespace) -> None:
    """Write the folder manuscript of a study."""
    from dstcl.reports.manuscript import write_manuscript

    write_manuscript(options.study, options.width)


def _width(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not LEAST <= value <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r}; from {LEAST} to {MOST}")
    return value
