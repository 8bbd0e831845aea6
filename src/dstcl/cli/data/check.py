"""Say what a prepared file holds and whether it is whole."""

from __future__ import annotations

import argparse

from dstcl.cli.data.options import add_prepared, prepared_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, and its file."""
    add_prepared(parser)


def run(options: argparse.Namespace) -> None:
    """Print what was found; ends with an error if the file is not whole."""
    from dstcl.data.check import check

    path = prepared_file(options)
    report = check(path)
    print(*report.lines, sep="\n")
    if report.problems:
        raise ValueError(f"{path}: {'; '.join(report.problems)}")
