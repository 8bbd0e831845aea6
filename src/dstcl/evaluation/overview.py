"""The few numbers of a study that `dvc metrics show` and `dvc metrics diff` print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.runs import AXES
from dstcl.storage import write_json

MEASURES = ("acc", "forgetting", "used_fraction")
DIGITS = 6


def write_overview(study: Path) -> None:
    """Write ``overview.json``: how many runs, means over all, and ACC of every configuration.

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
    for table, columns in ((summary, MEASURES), (cells, [*axes, "acc_mean"])):
        if lacking := set(columns) - set(table):
            raise ValueError(f"no column {', '.join(sorted(lacking))}")
    means = {name: summary[name].mean() for name in MEASURES if summary[name].notna().any()}
    return {
        "runs": len(summary),
        "mean": {name: round(float(value), DIGITS) for name, value in means.items()},
        "acc": {_name(row): round(float(row["acc_mean"]), DIGITS) for _, row in cells.iterrows()},
    }


def _name(cell: pd.Series) -> str:
    """A configuration in one word, in the order of the folders of its runs."""
    parts = [f"{cell['dataset']}-{cell['tasks']}tasks", cell["protocol"], cell["network"]]
    parts += [cell["method"], f"density{cell['density']:g}", cell["init"], cell["growth"]]
    return "/".join(map(str, parts))


def _table(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise ValueError(f"{path}: no such file; run `dstcl collect {path.parent}` first")
    return pd.read_csv(path)
