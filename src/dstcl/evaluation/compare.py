"""Differences between two settings of one axis, paired by seed.

Runs that differ in a single axis share initial weights, tasks and batches, so their difference is
taken seed by seed; the spread that the seeds' tasks bring to both cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd

from dstcl.evaluation.intervals import mean_interval
from dstcl.runs import AXES

COMPARED = ("protocol", "network", "method", "init", "growth")
BLOCK = ("dataset", "tasks", "protocol", "network", "method")
EVERY = "*"


def compare(summary: pd.DataFrame, measure: str = "acc") -> pd.DataFrame:
    """Every value of an axis against the first one, in each cell and over all cells.

    Args:
        summary: one row a run, with the axes as columns.
        measure: the column compared.

    Returns:
        A row a comparison: the axes (``*`` where a mean over its values was taken), ``axis``,
        ``value``, ``reference``, then seeds, mean difference, sd and 95 % interval (Student's t
        over the seeds' differences). NaN where fewer than two seeds have both.
    """
    rows = [
        row
        for axis in COMPARED
        if axis in summary
        for reference, value in _pairs(summary, axis)
        for row in _differences(summary, measure, axis, value, reference)
    ]
    columns = [*AXES[:-1], "axis", "value", "reference", "measure"]
    return pd.DataFrame(rows, columns=[*columns, "seeds", "difference", "sd", "low", "high"])


def _pairs(summary: pd.DataFrame, axis: str) -> Iterator[tuple[Any, Any]]:
    reference, *others = summary[axis].unique()
    return product([reference], others)


def _differences(
    summary: pd.DataFrame, measure: str, axis: str, value: Any, reference: Any
) -> Iterator[dict[str, Any]]:
    """The mean over all cells of a block (never over protocols, networks or methods), then every
    cell that has both values."""
    block = [name for name in BLOCK if name != axis]
    cell = [name for name in AXES if name not in (axis, "seed")]
    wide = summary.pivot_table(measure, [*cell, "seed"], axis, aggfunc="mean")
    if value not in wide or reference not in wide:
        return
    paired = (wide[value] - wide[reference]).dropna().rename("difference").reset_index()
    fixed = {"axis": axis, "value": value, "reference": reference, "measure": measure}
    for names in (block, cell):
        for key, group in paired.groupby(names, sort=False):
            per_seed = group.groupby("seed")["difference"].mean().tolist()
            estimate = mean_interval(per_seed)
            yield {
                **dict.fromkeys(AXES[:-1], EVERY),
                **dict(zip(names, key)),
                **fixed,
                "seeds": len(per_seed),
                "difference": estimate.mean,
                "sd": estimate.sd,
                "low": estimate.low,
                "high": estimate.high,
            }
