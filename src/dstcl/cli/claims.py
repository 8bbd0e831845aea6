"""Test the paper's claims on a study and compare it with the paper's numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_study

REFERENCE = Path("reference")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and what it is compared with."""
    add_study(parser)
    what = "folder with claims.yaml and paper.csv (default %(default)s)"
    parser.add_argument("--reference", type=Path, default=REFERENCE, help=what)


def run(options: argparse.Namespace) -> None:
    """Write claims.csv and paper.csv of a study."""
    from dstcl.evaluation.judge import write_claims

    write_claims(options.study, options.reference)
