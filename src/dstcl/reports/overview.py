"""The few numbers of a study that `dvc metrics show` and `dvc metrics diff` print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import CELL, METHOD_BLOCK, NOT_READ, is_varied
from dstcl.evaluation.tables import Needs, read_table
from dstcl.storage import write_json

MEASURES = ("acc", "forgetting", "used_fraction")
DIGITS = 6
NEEDED = {
    "summary": Needs((*METHOD_BLOCK, *MEASURES), ("tasks", *MEASURES), MEASURES[1:]),
    "cells": Needs((*CELL, "acc_mean"), ("tasks", "density", "acc_mean")),
}


def write_overview(study: Path) -> None:
    """Write ``overview.json``: how many runs, means of each block, ACC of every configuration.

    Raises:
        ValueError: naming the table that is missing, or the column that it lacks.
    """
    summary, cells = (read_table(study, name, needs) for name, needs in NEEDED.items())
    write_json(study / "overview.json", overview(summary, cells))


def overview(summary: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Any]:
    """Numbers by name; accuracies are fractions, measures that no run has are left out.

    Args:
        summary: one row per run.
        cells: one row per configuration, with ``acc_mean`` over its seeds.
    """
    blocks = summary.groupby(list(METHOD_BLOCK), sort=False)
    return {
        "runs": len(summary),
        "mean": {_block_name(rows.iloc[0]): _means(rows) for _, rows in blocks},
        "acc": {_name(row): round(float(row["acc_mean"]), DIGITS) for _, row in cells.iterrows()},
    }


def _means(runs: pd.DataFrame) -> dict[str, float]:
    """Of the runs of one block; never over data sets, protocols, networks or methods."""
    known = [name for name in MEASURES if runs[name].notna().any()]
    return {name: round(float(runs[name].mean()), DIGITS) for name in known}


def _block_name(row: pd.Series) -> str:
    """A block in one word, in the order of the folders of its runs."""
    parts = [f"{row['dataset']}-{row['tasks']}tasks", row["protocol"], row["network"]]
    return "/".join(map(str, [*parts, row["method"]]))


def _name(cell: pd.Series) -> str:
    """A configuration in one word: its block and its own axes."""
    parts = [f"density{cell['density']:g}", cell["init"], cell["growth"]]
    parts += [f"{name}={v}" for name, v in cell.items() if is_varied(name) and v != NOT_READ]
    return "/".join(map(str, [_block_name(cell), *parts]))
