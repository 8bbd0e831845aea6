"""Options that several commands on a study's results share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_study(parser: argparse.ArgumentParser) -> None:
    """The folder of a study, as ``options.study``."""
    parser.add_argument("study", type=Path, help="folder of the study: results/<preset>")
