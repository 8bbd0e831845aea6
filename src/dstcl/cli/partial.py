"""List the failed runs of a study, and write tables, figures and a report of the others."""

from __future__ import annotations

import argparse
import sys

from dstcl.cli.options import add_reference, add_study, add_template
from dstcl.shipped import REPORT_PAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and what its claims and its page are made of."""
    add_study(parser)
    add_reference(parser)
    add_template(parser, REPORT_PAGE)


def run(options: argparse.Namespace) -> None:
    """Say what failed; where some runs are finished, write them up in the folder ``partial``."""
    from dstcl.reports.partial import standing, words, write_partial

    found = standing(options.study)
    print("\n".join(words(options.study, found)), file=sys.stderr, flush=True)
    if found.failed and found.finished:
        out = write_partial(options.study, found, options.reference, options.template)
        page = out / "report.html"
        print(f"the finished runs: {page if page.exists() else out}", file=sys.stderr)
