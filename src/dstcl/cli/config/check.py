"""Compare a study's files with params.yaml."""

from __future__ import annotations

import argparse
import sys

from dstcl.cli.config.options import add_params, params_of
from dstcl.cli.options import add_data, add_study, add_thorough


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, its data, the configuration, and how much is verified."""
    add_study(parser)
    add_data(parser)
    add_thorough(parser)
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Compare plan, runs and tables; the first difference is an error."""
    from dstcl.evaluation.consistency import check_study
    from dstcl.study.load import runs

    found = check_study(
        runs(params_of(options)), options.study, data=options.data, thorough=options.thorough
    )
    for line in found.lines():
        print(line, file=sys.stderr)
