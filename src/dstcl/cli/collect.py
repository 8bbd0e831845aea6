"""Check finished runs and gather them into tables."""

from __future__ import annotations

import argparse

from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study."""
    add_study(parser)


def run(options: argparse.Namespace) -> None:
    """Write the tables of a study."""
    from dstcl.evaluation.collect import collect
    from dstcl.study.plan import read_plan

    _, runs = read_plan(options.study)
    collect(runs, options.study)
