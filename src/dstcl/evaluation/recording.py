"""A study as it is recorded: the small tables that show what came out, and of what it was made."""

from __future__ import annotations

import shutil
from pathlib import Path

from dstcl.storage import naming

TABLES = ("summary", "cells", "comparisons", "claims", "claim_units", "provenance")
"""Of a recorded study; not the long ones, which have a row a task, layer or epoch of each run."""
RECORDED = (*(f"{name}.csv" for name in TABLES), "summary.md", "params.json")
"""All that `dstcl confirm` needs, and the summary for people."""


def record(study: Path, folder: Path) -> list[Path]:
    """Copy what is recorded of a finished study; other files of the folder stay as they are.

    Args:
        study: with all tables.
        folder: where they are kept, as ``reference/quick``; made if it is missing.

    Returns:
        What was written.

    Raises:
        ValueError: the study lacks a file; names it, and nothing is written.
    """
    for name in RECORDED:
        if not (study / name).is_file():
            raise ValueError(f"{study / name}: no such file; only a finished study is recorded")
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copyfile(study / name, folder / name)) for name in RECORDED]
