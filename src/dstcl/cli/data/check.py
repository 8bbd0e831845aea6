"""Check a prepared file and print its contents."""

from __future__ import annotations

import argparse

from dstcl.cli.data.options import add_prepared, prepared_file
from dstcl.cli.data.own import add_params, own_datasets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, its file, and the user's own data sets."""
    add_prepared(parser)
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Print what was found; ends with an error if the file is not whole."""
    from dstcl.data.catalog import DATASETS
    from dstcl.data.check import check

    path = prepared_file(options)
    known = options.dataset in DATASETS
    own = None if known else own_datasets(options.params).get(options.dataset)
    report = check(path, own)
    print(*report.lines, sep="\n")
    if report.problems:
        raise ValueError(f"{path}: {'; '.join(report.problems)}")
