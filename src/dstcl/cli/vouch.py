"""Mark existing runs as up to date with the current code; nothing else does."""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatch

from dstcl.cli.options import add_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, which of its runs, and why."""
    add_study(parser)
    parser.add_argument(
        "--only", default="*", help="only runs whose folder matches, for example '*/erk/*'"
    )
    parser.add_argument(
        "--reason", required=True, help="why no number changes; recorded with the runs"
    )


def run(options: argparse.Namespace) -> None:
    """Record it in the folder of every finished run of other code, and print their number."""
    from dstcl.study.plan import read_plan
    from dstcl.study.run import RESULT_FILES
    from dstcl.study.standing import vouch

    reason = " ".join(options.reason.split())
    if not reason:
        raise ValueError("--reason: empty; say why the current code gives the same numbers")
    _, planned = read_plan(options.study)
    folders = [(one, options.study / "runs" / one.folder) for one in planned]
    finished = [
        (one, folder)
        for one, folder in folders
        if fnmatch(one.folder, options.only) and (folder / RESULT_FILES["metrics"]).exists()
    ]
    if not finished:
        raise ValueError(f"{options.study}: no finished run matches --only {options.only!r}")
    kept = sum([vouch(one, folder, reason) for one, folder in finished])
    print(
        f"{kept} of {len(finished)} finished runs were made by other code and are now up to date",
        file=sys.stderr,
    )
