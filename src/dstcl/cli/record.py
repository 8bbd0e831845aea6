"""Add the tables of finished runs to a recorded folder; call it again to add more runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dstcl.cli.options import add_data, add_reference, add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, the recorded folder, and what the runs are compared with."""
    add_study(parser)
    parser.add_argument("out", type=Path, help="recorded folder: reference/<preset>")
    add_reference(parser)
    what = "overwrite recorded runs whose accuracies differ from the study's"
    parser.add_argument("--replace", action="store_true", help=what)
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Add what is finished, and say how much is recorded now."""
    from dstcl.evaluation.record import record
    from dstcl.reports.summary import write_summary

    found = record(
        options.study,
        options.out,
        options.reference,
        data=options.data,
        replace=options.replace,
        say=lambda line: print(line, file=sys.stderr),
    )
    write_summary(found.preset, options.out)
    print(
        f"{options.out}: {found.runs} of {found.planned} runs, {len(found.added)} of them new",
        file=sys.stderr,
    )
