"""Commands on a finished study: tables, claims, figures, report, merging."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dstcl.cli.command import add_command

STUDY = "folder of the study: results/<preset>"


def add_results(commands: Any) -> None:
    """Add the commands of this module."""
    collect = add_command(commands, "collect", results_collect, "gather finished runs into tables")
    claims = add_command(
        commands, "claims", results_claims, "test the paper's claims and compare with its numbers"
    )
    claims.add_argument(
        "--reference",
        type=Path,
        default=Path("reference"),
        help="folder with claims.yaml and paper.csv",
    )
    figure = add_command(
        commands, "figure", results_figure, "draw one figure as SVG, PDF and PNG, with its CSV"
    )
    figure.add_argument("name")
    figure.add_argument("--dpi", type=int, default=150, help="of the PNG")
    overview = add_command(
        commands, "overview", results_overview, "write the few numbers that dvc metrics compares"
    )
    summary = add_command(
        commands, "summary", results_summary, "write the study's summary in Markdown"
    )
    report = add_command(
        commands, "report", results_report, "write the study as one self-contained page"
    )
    template = Path("workflow/report/report.html.j2")
    report.add_argument("--template", type=Path, default=template, help="of the page")
    for part in (collect, claims, figure, overview, summary, report):
        part.add_argument("study", type=Path, help=STUDY)
    merge = add_command(
        commands, "merge", results_merge, "put runs of several machines into one study"
    )
    merge.add_argument("studies", type=Path, nargs="+", metavar="DIR", help="results/<preset>")
    merge.add_argument("--out", type=Path, required=True, help="folder of the new study")


def results_collect(options: argparse.Namespace) -> None:
    """Check finished runs and gather them into tables."""
    from dstcl.evaluation.collect import collect
    from dstcl.study.plan import read_plan

    _, runs = read_plan(options.study)
    collect(runs, options.study)


def results_claims(options: argparse.Namespace) -> None:
    """Write claims.csv and paper.csv of a study."""
    from dstcl.evaluation.judge import write_claims

    write_claims(options.study, options.reference)


def results_figure(options: argparse.Namespace) -> None:
    """Draw one figure in every format, with the CSV behind it."""
    from dstcl.figures import draw_figure

    draw_figure(options.name, options.study, options.dpi)


def results_overview(options: argparse.Namespace) -> None:
    """Write the few numbers that `dvc metrics diff` compares between revisions."""
    from dstcl.reports.overview import write_overview

    write_overview(options.study)


def results_summary(options: argparse.Namespace) -> None:
    """Write the study's summary in Markdown."""
    from dstcl.reports.summary import write_summary
    from dstcl.study.plan import read_plan

    preset, _ = read_plan(options.study)
    write_summary(preset, options.study)


def results_report(options: argparse.Namespace) -> None:
    """Write the study as one self-contained page."""
    from dstcl.reports.page import write_report
    from dstcl.study.plan import read_plan

    preset, _ = read_plan(options.study)
    write_report(preset, options.study, options.template)


def results_merge(options: argparse.Namespace) -> None:
    """Put runs of several machines into one study."""
    from dstcl.evaluation.merge import merge

    merged = merge(options.studies, options.out)
    again = f", {merged.twice} of them found twice" if merged.twice else ""
    print(f"{options.out}: {len(merged.runs)} runs{again}", file=sys.stderr)
    if merged.missing:
        first = merged.missing[0]
        print(f"{len(merged.missing)} planned runs are in no folder: {first} ...", file=sys.stderr)
