"""Draw one figure as SVG, PDF and PNG, with the CSV behind it."""

from __future__ import annotations

import argparse

from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which figure of which study."""
    parser.add_argument("name", help="name of the figure, for example claims")
    add_study(parser)
    parser.add_argument(
        "--dpi", type=_dpi, default=150, help="resolution of the PNG (default %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    """Draw the figure in every format."""
    from dstcl.figures import draw_figure

    draw_figure(options.name, options.study, options.dpi)


def _dpi(text: str) -> int:
    if not text.isdecimal() or not 50 <= int(text) <= 600:
        raise argparse.ArgumentTypeError(f"{text!r}; from 50 to 600")
    return int(text)
