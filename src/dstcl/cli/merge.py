"""Combine runs of several machines into one study."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dstcl.cli.options import add_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folders of studies, and that of the new one."""
    parser.add_argument("studies", type=Path, nargs="+", metavar="DIR", help="results/<preset>")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new study")
    add_data(parser)


def run(options: argparse.Namespace) -> None:
    """Merge, and say how many runs there are and which are missing."""
    from dstcl.evaluation.merge import merge

    merged = merge(options.studies, options.out, data=options.data)
    again = f", {merged.twice} of them found twice" if merged.twice else ""
    print(f"{options.out}: {len(merged.runs)} runs{again}", file=sys.stderr)
    for line in merged.unverified.lines():
        print(line, file=sys.stderr)
    if merged.missing:
        missing = merged.planned - len(merged.runs)
        print(f"{missing} planned runs are in no folder: {merged.missing[0]} ...", file=sys.stderr)
