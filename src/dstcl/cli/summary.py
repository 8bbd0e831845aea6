"""Write the study's summary in Markdown."""

from __future__ import annotations

import argparse

from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Write summary.md of a study."""
    from dstcl.reports.summary import write_summary
    from dstcl.study.plan import read_plan

    preset, _ = read_plan(options.study)
    write_summary(preset, options.study)
