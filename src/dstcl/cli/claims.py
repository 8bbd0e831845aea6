"""Test the paper's claims on a study and compare it with the paper's numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_reference

MOST_SEEDS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and what it is compared with."""
    what = "folder of the study: results/<preset>"
    parser.add_argument("study", type=Path, nargs="?", help=what)
    add_reference(parser)
    what = "list every claim with the evidence from the paper's own numbers; needs no study"
    parser.add_argument("--paper", action="store_true", help=what)
    what = "estimate the seeds each claim needs from recorded runs (reference/<preset>; pooled)"
    parser.add_argument("--power", type=Path, nargs="+", metavar="STUDY", help=what)
    what = "number of seeds for the power that --power prints (default %(default)s)"
    parser.add_argument("--seeds", type=int, default=10, help=what)
    what = (
        "pool studies for --power although digests of their runs differ; for recordings of equal "
        "settings from before and after digests were renamed"
    )
    parser.add_argument("--ignore-digests", action="store_true", help=what)


def run(options: argparse.Namespace) -> None:
    """Write claims.csv, paper.csv and paper_tables.csv of a study, or list the claims.

    Raises:
        ValueError: none is asked for, or several; --seeds is no number of seeds; or
            --ignore-digests is given without --power.
    """
    if sum((options.paper, options.study is not None, options.power is not None)) != 1:
        raise ValueError("claims: either the folder of a study or --paper or --power is needed")
    if options.ignore_digests and not options.power:
        raise ValueError("claims: --ignore-digests is for --power alone")
    if options.power:
        _print_power(options)
        return
    from dstcl.evaluation.claims import load_claims

    if options.paper:
        from dstcl.evaluation.claims_on_paper import judge_paper, paper_lines, read_paper_study

        claims = load_claims(options.reference / "claims.yaml")
        judged = judge_paper(claims, read_paper_study(options.reference / "paper"))
        print("\n".join(paper_lines(claims, judged)))
        return
    from dstcl.evaluation.judge import write_claims
    from dstcl.evaluation.paper.write import write_paper

    load_claims(options.reference / "claims.yaml")  # a mistake there, before anything is written
    write_paper(options.study, options.reference)
    # Last: claims.csv says from which results all these tables were made.
    write_claims(options.study, options.reference)


def _print_power(options: argparse.Namespace) -> None:
    from dstcl.evaluation.claims import load_claims
    from dstcl.evaluation.power import power_table
    from dstcl.reports.power import power_lines

    if not 2 <= options.seeds <= MOST_SEEDS:
        raise ValueError(f"--seeds: {options.seeds}; 2 to {MOST_SEEDS}")
    claims = load_claims(options.reference / "claims.yaml")
    digests = not options.ignore_digests
    table, tests = power_table(claims, options.power, options.seeds, digests)
    print("\n".join(power_lines(table, tests, options.seeds)))
