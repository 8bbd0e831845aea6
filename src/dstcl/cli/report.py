"""Write the study as one self-contained page."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_study, add_template
from dstcl.shipped import REPORT_PAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and the page's template."""
    add_study(parser)
    add_template(parser, REPORT_PAGE)
    what = "folder of a recorded study to compare this one with: reference/<preset>"
    parser.add_argument("--recorded", type=Path, help=what)


def run(options: argparse.Namespace) -> None:
    """Write report.html of a study."""
    from dstcl.reports.page import write_report
    from dstcl.study.plan import read_plan

    preset, _ = read_plan(options.study)
    write_report(preset, options.study, options.template, options.recorded)
