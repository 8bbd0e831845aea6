"""Send finished and failed runs to MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and whether to watch it or to record what was sent."""
    add_study(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="go on while runs train, with their curves so far (default: every 30 s)",
    )
    mode.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="as the pipeline does: write what was sent; without MLflow, that and no error",
    )
    parser.add_argument("--failures", type=int, default=0, help="with --record: earlier ones")


def run(options: argparse.Namespace) -> None:
    """Send once, or again and again while runs train."""
    from dstcl.tracking import study

    if options.watch is not None:
        if options.watch <= 0:
            raise ValueError(f"--watch: {options.watch:g}; more than 0 seconds are needed")
        study.watch(options.study, options.watch, lambda line: print(line, flush=True))
    elif options.record:
        study.track_and_record(options.study, options.record, options.failures, print)
    else:
        print(study.track(options.study))
