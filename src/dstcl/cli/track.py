"""Send finished and failed runs to MLflow, or print the links to their pages."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and whether to watch it or to record what was sent; or the address of pages."""
    what = "folder of the study: results/<preset>"
    parser.add_argument("study", type=Path, nargs="?", help=what)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="repeat while runs train, with their curves so far (default: every 30 s)",
    )
    mode.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="as in the pipeline: record what was sent; an unreachable MLflow is not an error",
    )
    mode.add_argument(
        "--links",
        metavar="ADDRESS",
        help="send nothing; print links to each tracked study, for an MLflow UI at this address",
    )
    parser.add_argument(
        "--failures", type=int, default=0, help="with --record: number of earlier failures"
    )


def run(options: argparse.Namespace) -> None:
    """Send once, or again and again while runs train; or print links.

    Raises:
        ValueError: no study, or one with ``--links``; an interval of no length.
    """
    if (options.study is None) == (options.links is None):
        raise ValueError("track: either the folder of a study or --links ADDRESS is needed")
    if options.links is not None:
        from dstcl.tracking.links import links

        pages = links(options.links)
        lines = [f"{preset}: {page}" for preset, page in pages.items()]
        print("\n".join(lines or ["no study is tracked yet; `dstcl track results/<preset>` does"]))
        return
    from dstcl.tracking import study

    if options.watch is not None:
        if options.watch <= 0:
            raise ValueError(f"--watch: {options.watch:g}; more than 0 seconds are needed")
        study.watch(options.study, options.watch, lambda line: print(line, flush=True))
    elif options.record:
        study.track_and_record(options.study, options.record, options.failures, print)
    else:
        print(study.track(options.study))
