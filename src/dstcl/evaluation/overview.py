"""The few numbers of a study that `dvc metrics show` and `dvc metrics diff` print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.runs import AXES
from dstcl.storage import write_json

MEASURES = ("acc", "forgetting", "used_fraction")
DIGITS = 6
BLOCK = ["dataset", "tasks", "protocol", "network", "method"]


def write_overview(study: Path) -> None:
    """Write ``overview.json``: how many runs, means of each block, ACC of every configuration.

    Raises:
        ValueError: naming the table that is missing, or the column that it lacks.
    """
    summary, cells = (_table(study / f"{name}.csv") for name in ("summary", "cells"))
    write_json(study / "overview.json", overview(summary, cells))


def overview(summary: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Any]:
    """Numbers by name; accuracies are fractions, measures that no run has are left out.

    Args:
        summary: a row a run.
        cells: a row a configuration, with ``acc_mean`` over its seeds.

    Raises:
        ValueError: naming a column that is missing.
    """
    axes = [axis for axis in AXES if axis != "seed"]
    for table, columns in ((summary, [*BLOCK, *MEASURES]), (cells, [*axes, "acc_mean"])):
        if lacking := set(columns) - set(table):
            raise ValueError(f"no column {', '.join(sorted(lacking))}")
    blocks = summary.groupby(BLOCK, sort=False)
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
    return "/".join(map(str, [_block_name(cell), *parts]))


def _table(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise ValueError(f"{path}: no such file; run `dstcl collect {path.parent}` first")
    return pd.read_csv(path)
