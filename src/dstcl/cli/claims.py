"""Test the paper's claims on a study and compare it with the paper's numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

REFERENCE = Path("reference")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and what it is compared with."""
    what = "folder of the study: results/<preset>"
    parser.add_argument("study", type=Path, nargs="?", help=what)
    what = "folder with claims.yaml and paper/ (default %(default)s)"
    parser.add_argument("--reference", type=Path, default=REFERENCE, help=what)
    what = "list every claim with what the paper's own numbers say of it; needs no study"
    parser.add_argument("--paper", action="store_true", help=what)


def run(options: argparse.Namespace) -> None:
    """Write claims.csv, paper.csv and paper_tables.csv of a study, or list the claims.

    Raises:
        ValueError: neither is asked for, or both.
    """
    if options.paper == (options.study is not None):
        raise ValueError("claims: either the folder of a study or --paper is needed")
    if options.paper:
        from dstcl.evaluation.claims import load_claims
        from dstcl.evaluation.claims_on_paper import judge_paper, paper_lines, read_paper_study

        claims = load_claims(options.reference / "claims.yaml")
        judged = judge_paper(claims, read_paper_study(options.reference / "paper"))
        print("\n".join(paper_lines(claims, judged)))
        return
    from dstcl.evaluation.judge import write_claims
    from dstcl.evaluation.paper.write import write_paper

    write_claims(options.study, options.reference)
    write_paper(options.study, options.reference)
