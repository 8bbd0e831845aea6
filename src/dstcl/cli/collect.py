"""Check finished runs and gather them into tables."""

from __future__ import annotations

import argparse
import sys

from dstcl.cli.options import add_data, add_study, add_thorough


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, its data, and how much is verified."""
    add_study(parser)
    add_data(parser)
    add_thorough(parser)


def run(options: argparse.Namespace) -> None:
    """Write the tables of a study."""
    from dstcl.evaluation.collect import collect
    from dstcl.study.plan import read_plan

    _, runs = read_plan(options.study)
    collect(
        runs,
        options.study,
        data=options.data,
        thorough=options.thorough,
        say=lambda line: print(line, file=sys.stderr),
    )
