"""Add a run's model to MLflow's registry."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, and the model's name."""
    parser.add_argument("run", type=Path, help="folder of the run: results/<preset>/runs/...")
    parser.add_argument("--name", help="name of the model (default: from preset and configuration)")


def run(options: argparse.Namespace) -> None:
    """Register, and print the model's name and version."""
    from dstcl.tracking.register import register

    print(register(options.run, name=options.name))
