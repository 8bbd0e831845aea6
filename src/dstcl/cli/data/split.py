"""Write a task split, which lists the classes of each task."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, its tasks and their order, and the file."""
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("--data", type=Path, required=True, help="prepared file")
    parser.add_argument("--tasks", type=int, required=True, help="number of tasks")
    parser.add_argument(
        "--order",
        required=True,
        help="natural, superclass or seed<k>; then -sizes50+5x10 for unequal tasks, then -val0.1",
    )
    parser.add_argument("--out", type=Path, required=True, help="task split to write")


def run(options: argparse.Namespace) -> None:
    """Write the split."""
    from dstcl.data.tasks import write_tasks

    write_tasks(options.data, options.dataset, options.tasks, options.order, options.out)
