"""Compare a study's files with params.yaml."""

from __future__ import annotations

import argparse

from dstcl.cli.config.options import add_params, params_of
from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and the configuration."""
    add_study(parser)
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Compare plan, runs and tables; the first difference is an error."""
    from dstcl.evaluation.consistency import check_study
    from dstcl.study.load import runs

    check_study(runs(params_of(options)), options.study)
