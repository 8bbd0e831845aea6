"""Draw some images of every class."""

from __future__ import annotations

import argparse
from pathlib import Path

from dstcl.cli.data.options import add_prepared, prepared_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, its file, and the sheet."""
    add_prepared(parser)
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    parser.add_argument("--samples", type=int, default=10, help="images per class")


def run(options: argparse.Namespace) -> None:
    """Draw the sheet."""
    from dstcl.data.sheet import write_sheet
    from dstcl.data.stored import load_prepared

    if options.samples < 1:
        raise ValueError(f"--samples: {options.samples}; at least 1")
    write_sheet(load_prepared(prepared_file(options)), options.out, options.samples)
