"""Test the paper's claims on a study and compare it with the paper's numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_study

REFERENCE = Path("reference")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and what it is compared with."""
    add_study(parser)
    what = "folder with claims.yaml and paper/ (default %(default)s)"
    parser.add_argument("--reference", type=Path, default=REFERENCE, help=what)


def run(options: argparse.Namespace) -> None:
    """Write claims.csv, paper.csv and paper_tables.csv of a study."""
    from dstcl.evaluation.judge import write_claims
    from dstcl.evaluation.paper.write import write_paper

    write_claims(options.study, options.reference)
    write_paper(options.study, options.reference)
