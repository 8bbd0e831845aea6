"""List data sets and their files on disk."""

from __future__ import annotations

import argparse

from dstcl.cli.data.own import add_params, own_datasets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file with the user's own data sets."""
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Print the list."""
    from dstcl.data.check import overview

    print(*overview(own_datasets(options.params)), sep="\n")
