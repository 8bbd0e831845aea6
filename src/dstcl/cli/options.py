"""Options that several commands on a study's results share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dstcl.shipped import CLAIMS, nearest


def add_study(parser: argparse.ArgumentParser) -> None:
    """The folder of a study, as ``options.study``."""
    parser.add_argument("study", type=Path, help="folder of the study: results/<preset>")


def add_reference(parser: argparse.ArgumentParser) -> None:
    """What the paper says, as ``options.reference``."""
    what = "folder with claims.yaml and paper/ (default: reference/, or else the package's copy)"
    add_shipped(parser, "--reference", lambda: nearest(CLAIMS).parent, what)


def add_template(parser: argparse.ArgumentParser, name: str) -> None:
    """What a page is made of, as ``options.template``.

    Args:
        name: its path in a checkout.
    """
    what = f"template of the page (default: {name}, or else the package's copy)"
    add_shipped(parser, "--template", lambda: nearest(name), what)


def add_shipped(
    parser: argparse.ArgumentParser, option: str, found: Callable[[], Path], what: str
) -> None:
    """A path that is looked for where it is not given.

    Not before the arguments are read, as one parser serves commands in several folders: a default
    that is text is converted then.
    """
    parser.add_argument(
        option, type=lambda text: Path(text) if text else found(), default="", help=what
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """The folder of data that finished runs are compared with, as ``options.data``."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        help="folder with prepared/ and tasks/; runs trained on other data are refused",
    )


def add_thorough(parser: argparse.ArgumentParser) -> None:
    """Whether large files are verified too, as ``options.thorough``."""
    parser.add_argument("--thorough", action="store_true", help="verify masks and weights as well")
