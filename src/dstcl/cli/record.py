"""Keep the small tables of a finished study, for `dstcl confirm` and for readers."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and where it is kept."""
    add_study(parser)
    parser.add_argument("reference", type=Path, help="folder to write: reference/<preset>")


def run(options: argparse.Namespace) -> None:
    """Copy what is recorded, and name what was written."""
    from dstcl.evaluation.recording import record

    for path in record(options.study, options.reference):
        print(path)
