"""A data set and its prepared file: options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_prepared(parser: argparse.ArgumentParser) -> None:
    """A data set and its prepared file, which `prepared_file` finds."""
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("--data", type=Path, help="prepared file (default: in data/prepared)")


def prepared_file(options: argparse.Namespace) -> Path:
    """The prepared file that is meant.

    Raises:
        ValueError: none is named, and there is not exactly one.
    """
    from dstcl.data.check import find_prepared

    return options.data or find_prepared(options.dataset)
