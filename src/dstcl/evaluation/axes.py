"""Axes of a study and the groupings of them that tables, figures and pages use, each named once.

The nine axes of `dstcl.study.parts.AXES` are in every study. A preset may vary any setting besides:
its dotted key, as ``topology.update_every``, is then one more axis, a column between ``growth`` and
``seed``. Its values are text (`value_text`), and `NOT_READ` where a run's method does not read the
setting. The dot is what tells such a column from all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dstcl.study.parts import AXES
from dstcl.study.parts import NOT_READ as NOT_READ

if TYPE_CHECKING:
    import pandas as pd


CELL = tuple(axis for axis in AXES if axis != "seed")
"""A configuration: its runs differ in the seed alone."""
SETTING = ("dataset", "tasks", "network")
"""What is learned, and by what network: tables show the protocols of one setting side by side."""
BLOCK = ("dataset", "tasks", "protocol", "network")
"""Within one, methods are compared and claims are tested and corrected."""
METHOD_BLOCK = (*BLOCK, "method")
"""Within one, configurations are compared; no mean is taken over two of them."""
SUBNETWORK = ("density", "init")
"""How sub-networks are drawn. A dense method has none: its init is `NOT_READ`."""
CONFIGURATION = ("method", *SUBNETWORK, "growth")
"""What tells the configurations of a block apart."""
EVERY = "*"
"""In place of an axis: the row is a mean over its values."""


def is_varied(column: object) -> bool:
    """Whether a column is a varied setting: the dot says so."""
    return "." in str(column)


def varied_axes(table: pd.DataFrame) -> list[str]:
    """The varied settings among the columns of a table."""
    return [str(name) for name in table.columns if is_varied(name)]


def cell_axes(table: pd.DataFrame) -> list[str]:
    """`CELL` with the varied settings of a table: what its configurations are told apart by."""
    return [*CELL, *varied_axes(table)]


def all_axes(table: pd.DataFrame) -> list[str]:
    """`cell_axes` and the seed, in the order of the columns."""
    return [*cell_axes(table), "seed"]


def same_value(one: str, other: str) -> bool:
    """Whether two texts are the same value: equal, or numbers as ``1`` and ``1.0``."""
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False


def values_read(table: pd.DataFrame, axis: str) -> list[str]:
    """Values of a varied setting in a table, in order, without `NOT_READ`."""
    return [str(value) for value in table[axis].unique() if value != NOT_READ]


def mean_over(
    table: pd.DataFrame, axes: Sequence[str] | None = None, within: Sequence[str] = ()
) -> str:
    """What a mean over these rows is a mean over, in words; "" where no setting varies.

    Args:
        table: with varied settings among its columns.
        axes: those over which the mean is taken; all by default.
        within: columns that tell several means apart; only what varies in one of them counts.
    """
    words = [
        f"{axis} {', '.join(values)}"
        for axis in (varied_axes(table) if axes is None else axes)
        if len(values := values_read(_varying(table, axis, within), axis)) > 1
    ]
    return f"mean over {' and '.join(words)}" if words else ""


def _varying(table: pd.DataFrame, axis: str, within: Sequence[str]) -> pd.DataFrame:
    """Rows of the means that have several values of a setting."""
    if not within:
        return table
    read = table[table[axis] != NOT_READ]
    return read[read.groupby(list(within))[axis].transform("nunique") > 1]
