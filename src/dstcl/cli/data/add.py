"""Download a data set, or copy or link one from disk, into the data folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, and where it is."""
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument(
        "path", type=Path, nargs="?", help="folder or archive on disk; omit it to download"
    )
    parser.add_argument("--link", action="store_true", help="link to it instead of copying")


def run(options: argparse.Namespace) -> None:
    """Copy, link or download, and say where it is."""
    from dstcl.data.add import add

    print(f"{add(options.dataset, options.path, link=options.link)}: there", file=sys.stderr)
