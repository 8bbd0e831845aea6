"""Pack a finished study into one file for a deposit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dstcl.cli.options import add_shipped, add_study
from dstcl.shipped import CITATION, nearest, root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, where the archive goes, and who is cited."""
    add_study(parser)
    parser.add_argument(
        "--out", type=Path, help="zip file to write (default STUDY.zip, beside the folder)"
    )
    what = "file with authors, licence and version for the metadata (default: CITATION.cff of the "
    what += "working folder, else the one of this package)"
    add_shipped(parser, "--citation", lambda: nearest(CITATION), what)
    what = "leave out the weights, which take most of the space; masks stay"
    parser.add_argument("--no-weights", action="store_true", help=what)


def run(options: argparse.Namespace) -> None:
    """Check the study, write the archive, and say what is in it."""
    from dstcl.deposit.archive import write_archive

    study = options.study.resolve()
    if not Path(CITATION).exists() and options.citation.resolve() == root() / CITATION:
        print(
            f"authors are those of dstcl itself, by {options.citation}; a CITATION.cff of yours in "
            "this folder, or --citation, names others",
            file=sys.stderr,
        )
    out = options.out or study.with_name(f"{study.name}.zip")
    found = write_archive(options.study, out, options.citation, weights=not options.no_weights)
    if found.unsealed:
        print(
            f"{found.unsealed} of {len(found.runs)} runs have no digests of their files and could "
            "not be verified",
            file=sys.stderr,
        )
    size = out.stat().st_size
    print(
        f"{out}: {len(found.runs)} runs, {len(found.files)} files, {size / 1e6:.1f} MB",
        file=sys.stderr,
    )
