"""Write the study as one self-contained page."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_study

TEMPLATE = Path("workflow/report/report.html.j2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and the page's template."""
    add_study(parser)
    what = "of the page (default %(default)s)"
    parser.add_argument("--template", type=Path, default=TEMPLATE, help=what)
    what = "folder of a recorded study that this one is compared with: reference/<preset>"
    parser.add_argument("--recorded", type=Path, help=what)


def run(options: argparse.Namespace) -> None:
    """Write report.html of a study."""
    from dstcl.reports.page import write_report
    from dstcl.study.plan import read_plan

    preset, _ = read_plan(options.study)
    write_report(preset, options.study, options.template, options.recorded)
