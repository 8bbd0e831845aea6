"""Write the numbers that `dvc metrics diff` compares between revisions."""

from __future__ import annotations

import argparse

from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Write overview.json of a study."""
    from dstcl.reports.overview import write_overview

    write_overview(options.study)
