"""Print the path of this package's workflow, for ``snakemake --snakefile`` in any folder."""

from __future__ import annotations

import argparse

from dstcl.shipped import SNAKEFILE, root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(options: argparse.Namespace) -> None:
    """Print the path.

    Raises:
        ValueError: the package was installed without it.
    """
    path = root() / SNAKEFILE
    if not path.is_file():
        raise ValueError(f"{path}: no such file; this package was installed without its workflow")
    print(path)
