"""Write the list of runs to a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.config.options import add_params, params_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The configuration, and the file."""
    parser.add_argument("--out", type=Path, required=True, help="file to write: plan.json")
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Write the plan."""
    from dstcl.study.load import runs
    from dstcl.study.missing import FILE
    from dstcl.study.plan import write_plan

    params = params_of(options)
    write_plan(params.preset, runs(params), options.out)
    options.out.with_name(FILE).unlink(missing_ok=True)  # of what an earlier plan lacked
