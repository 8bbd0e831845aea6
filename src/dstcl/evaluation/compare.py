"""Differences between two settings of one axis, paired by seed.

Runs that differ in a single axis share initial weights, tasks and batches, so their difference is
taken seed by seed; the spread that the seeds' tasks bring to both cancels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import (
    EVERY,
    METHOD_BLOCK,
    NOT_READ,
    SUBNETWORK,
    all_axes,
    cell_axes,
    values_read,
    varied_axes,
)
from dstcl.evaluation.statistics import mean_interval

COMPARED = ("protocol", "network", "method", "init", "growth")
"""Axes whose values are compared; after them come the varied settings."""
CONTRASTED = ("growth", "init")
"""Axes whose differences are compared between protocols."""


def compare(summary: pd.DataFrame, measure: str = "acc") -> pd.DataFrame:
    """Every value of an axis against the first one, in each cell and over all cells.

    A mean over cells is made of the seeds that have all of them, so that no seed stands for other
    cells than the next; if no seed has all, of the cells that every seed has. Methods are compared
    over all growths: a dense one with every density and init of a sparse one, two sparse ones at
    the same density and init; a varied setting that only one of them reads counts as a growth
    does. Values of a varied setting are compared like those of an axis. Last come differences of
    differences: what a growth or an init brings under one protocol, against what it brings under
    the first (``axis`` is then ``protocol x growth`` or ``protocol x init``), over all cells only.

    Args:
        summary: one row per run, with the axes as columns.
        measure: the column compared.

    Returns:
        One row per comparison: the axes (``*`` where a mean over its values was taken), ``axis``,
        ``value``, ``reference``, then seeds, mean difference, sd and 95 % interval (Student's t
        over the seeds' differences). NaN where fewer than two seeds have both.
    """
    rows = [
        row
        for axis in (*COMPARED, *varied_axes(summary))
        for reference, value in _pairs(summary, axis)
        for row in _differences(summary, measure, axis, value, reference)
    ]
    rows += [row for axis in CONTRASTED for row in _contrasts(summary, measure, axis)]
    columns = [*cell_axes(summary), "axis", "value", "reference", "measure"]
    return pd.DataFrame(rows, columns=[*columns, "seeds", "difference", "sd", "low", "high"])


def _pairs(summary: pd.DataFrame, axis: str) -> Iterator[tuple[Any, Any]]:
    """The first value of an axis with each of the others; a setting that is not read has none."""
    varied = axis in varied_axes(summary)
    values = values_read(summary, axis) if varied else list(summary[axis].unique())
    return product(values[:1], values[1:])


def _differences(
    summary: pd.DataFrame, measure: str, axis: str, value: Any, reference: Any
) -> Iterator[dict[str, Any]]:
    """The mean over all cells of a block (never over protocols, networks or methods), then every
    cell that has both values."""
    axes = cell_axes(summary)
    block = [name for name in METHOD_BLOCK if name != axis]
    if axis == "method":
        paired = _paired_methods(summary, measure, value, reference)
    else:
        paired = _paired(summary, measure, axis, value, reference)
    cell = [name for name in axes if name in paired]
    fixed = dict.fromkeys(axes, EVERY)
    fixed |= {"axis": axis, "value": value, "reference": reference, "measure": measure}
    for names in (block, cell):
        yield from _estimates(paired, names, fixed)


def _contrasts(summary: pd.DataFrame, measure: str, axis: str) -> Iterator[dict[str, Any]]:
    """What the values of an axis bring under each protocol, against the first protocol."""
    block = [name for name in METHOD_BLOCK if name != "protocol"]
    for (first, protocol), (reference, value) in product(
        list(_pairs(summary, "protocol")), list(_pairs(summary, axis))
    ):
        paired = _paired(summary, measure, axis, value, reference)
        twice = _paired(paired, "difference", "protocol", protocol, first, without=axis)
        fixed = dict.fromkeys(cell_axes(summary), EVERY) | {
            "axis": f"protocol x {axis}",
            "value": f"({value} - {reference}) under {protocol}",
            "reference": f"under {first}",
            "measure": measure,
        }
        yield from _estimates(twice, block, fixed)


def _paired(
    table: pd.DataFrame, measure: str, axis: str, value: Any, reference: Any, without: str = ""
) -> pd.DataFrame:
    """``value`` minus ``reference`` of an axis, in every cell and seed that has both.

    Returns:
        The other axes (but for ``without``) and ``difference``.
    """
    other = [name for name in all_axes(table) if name not in (axis, without)]
    wide = table.pivot_table(measure, other, axis, aggfunc="mean")
    if value not in wide or reference not in wide:
        return pd.DataFrame(columns=[*other, "difference"])
    return (wide[value] - wide[reference]).dropna().rename("difference").reset_index()


def _paired_methods(
    summary: pd.DataFrame, measure: str, value: str, reference: str
) -> pd.DataFrame:
    """A method minus another on the same tasks, with every pair of their growths.

    Two sparse methods are paired at the same density and init; a dense one has neither and is
    paired with all of the other's, which then names the cell. So it is with a varied setting: at
    the same value where both read it, else with all values.

    Returns:
        The axes but method, growth and settings that not both read; ``_this`` and ``_that`` of
        growth and of these; and ``difference``.
    """
    runs = [summary[summary["method"] == name] for name in (value, reference)]
    dense = [bool((table["init"] == NOT_READ).all()) for table in runs]
    varied = varied_axes(summary)
    apart = [v for v in varied if any((table[v] == NOT_READ).all() for table in runs)]
    free = ["growth", *apart]
    common = [n for n in all_axes(summary) if n not in ("method", *free, *SUBNETWORK)]
    cells = [*common, *SUBNETWORK]
    named = [common if lacks and dense[0] != dense[1] else cells for lacks in dense]
    this, that = (table[[*axes, *free, measure]] for table, axes in zip(runs, named))
    paired = this.merge(
        that, on=cells if dense[0] == dense[1] else common, suffixes=("_this", "_that")
    )
    paired["difference"] = paired[f"{measure}_this"] - paired[f"{measure}_that"]
    columns = [*cells, *(f"{name}_{side}" for name in free for side in ("this", "that"))]
    return paired[[*columns, "difference"]].dropna().sort_values(columns)


def _estimates(
    paired: pd.DataFrame, names: Sequence[str], fixed: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """For all values of these axes: the mean over the others, one number per seed."""
    rest = [str(name) for name in paired if name not in (*names, "seed", "difference")]
    for key, group in paired.groupby(list(names), sort=False):
        per_seed = _per_seed(group, rest)
        if per_seed.empty:
            continue
        estimate = mean_interval(per_seed.tolist())
        yield {
            **fixed,
            **dict(zip(names, key)),
            "seeds": len(per_seed),
            "difference": estimate.mean,
            "sd": estimate.sd,
            "low": estimate.low,
            "high": estimate.high,
        }


def _per_seed(paired: pd.DataFrame, rest: Sequence[str]) -> pd.Series[float]:
    """Each seed's mean over the cells that these axes tell apart: the same cells in every seed.

    Empty if the seeds have no cell in common and none has all.
    """
    if not rest:
        return paired.groupby("seed")["difference"].mean()
    cells = paired.pivot_table("difference", "seed", list(rest), aggfunc="mean")
    return in_every_seed(cells).mean(axis=1).dropna()


def in_every_seed(cells: pd.DataFrame) -> pd.DataFrame:
    """The seeds (rows) that have all cells (columns); if none has, the cells that all seeds have.

    Args:
        cells: NaN where a seed lacks a cell.
    """
    whole = cells.dropna()
    return cells.dropna(axis=1) if whole.empty else whole
