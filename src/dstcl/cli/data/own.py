"""Data sets of the user's own, which params.yaml describes.

Not in `options`: only commands that need the configuration should depend on the code behind it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstcl.data.catalog import DatasetInfo


def add_params(parser: argparse.ArgumentParser) -> None:
    """The file with the user's own data sets."""
    what = "file with the study (default %(default)s)"
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help=what)


def own_datasets(params: Path) -> dict[str, DatasetInfo]:
    """Facts of the user's own data sets, by name; none without such a file."""
    from dstcl.data.catalog import own_dataset
    from dstcl.study.load import load_file

    if not params.exists():
        return {}
    entries = load_file(params).datasets
    return {name: own_dataset(name, own.model_dump()) for name, own in entries.items()}
