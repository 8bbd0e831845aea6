"""List the runs with their digests."""

from __future__ import annotations

import argparse
import json
import sys

from dstcl.cli.config.options import add_params, params_of, say_remarks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The configuration, and the form of the list."""
    parser.add_argument("--json", action="store_true", help="full run descriptions for dstcl train")
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Print digest and folder, a line per run, or full descriptions as JSON."""
    from dstcl.study.load import runs

    planned = runs(params_of(options))
    say_remarks(planned)
    if options.json:
        print(json.dumps([one.to_dict() for one in planned], indent=2))
        return
    for one in planned:
        print(one.digest, one.folder)
    print(f"{len(planned)} runs", file=sys.stderr)
