"""Write one page to browse all results, with curves, verdicts and runs; it needs no server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dstcl.cli.options import add_reference, add_template
from dstcl.shipped import RESULTS_PAGE

RESULTS = Path("results")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which studies, and where the page goes."""
    what = "folders of studies, in addition to recorded ones (default: those in results/)"
    parser.add_argument("studies", nargs="*", type=Path, metavar="study", help=what)
    add_reference(parser)
    add_template(parser, RESULTS_PAGE)
    out = RESULTS / "results.html"
    parser.add_argument("--out", type=Path, default=out, help="file to write (default %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Write the page, and say what is on it."""
    from dstcl.reports.browse.page import write_results_page

    studies = options.studies or sorted(path.parent for path in RESULTS.glob("*/summary.csv"))
    found = write_results_page(studies, options.reference, options.template, options.out)
    words = ", ".join(f"{number} {name}" for name, number in found.items())
    print(f"{options.out}: {words}", file=sys.stderr)
