"""The cells of one block of a study, as claims name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import (
    CONFIGURATION,
    NOT_READ,
    mean_over,
    same_value,
    values_read,
    varied_axes,
)
from dstcl.evaluation.claim_cells import about_only
from dstcl.evaluation.replication import SEEDS, Unit

Cell = tuple[Any, ...]
Selections = Mapping[str, list[dict[str, list[Any]]]]
"""Values by axis, of each set of cells that a claim compares."""


class NotTested(Exception):
    """Why a claim cannot be tested in a block."""


class Grid:
    """The cells of a block: a configuration with a value of each setting that the study varies.

    Args:
        runs: of one block, one row per run.
        unit: what is repeated; a setting that is the unit is no axis of a cell.
    """

    def __init__(self, runs: pd.DataFrame, unit: Unit = SEEDS) -> None:
        self.runs = runs
        self.varied = [axis for axis in varied_axes(runs) if axis != unit.column]
        self.axes = [*CONFIGURATION, *self.varied]

    def cells(self, axes: dict[str, list[Any]]) -> list[Cell]:
        """The cells with these values.

        Of a varied setting that has no values here, all that the method has; a value of a setting
        that the method does not read says nothing of it.

        Raises:
            NotTested: a setting is named that the study does not vary.
        """
        for axis in axes:
            _check_varied(self.runs, axis)
        found = []
        for method in axes["method"]:
            own = self.runs[self.runs["method"] == method]
            named = {"method": [method]} | {axis: axes[axis] for axis in CONFIGURATION[1:]}
            for axis in (axis for axis in self.varied if axis in axes):
                named[axis] = _as_in_study(axes[axis], own[axis])
                if own[axis].isin(named[axis]).any():
                    own = own[own[axis].isin(named[axis])]
            free = [axis for axis in self.varied if axis not in axes]
            values = own[free].drop_duplicates().to_dict("records") if free else [{}]
            for combination in product(*named.values()):
                cell = dict(zip(named, combination))
                found += [
                    tuple((cell | value).get(axis, NOT_READ) for axis in self.axes)
                    for value in values or [{}]
                ]
        return found

    def reads(self, method: str, axis: str) -> bool:
        """Whether a varied setting means something to a method."""
        return bool(values_read(self.runs[self.runs["method"] == method], axis))

    def unnamed(self, selections: Selections) -> list[str]:
        """Varied settings of which a claim says nothing."""
        named = {axis for found in selections.values() for axes in found for axis in axes}
        return [axis for axis in self.varied if axis not in named]

    def averaged(self, selections: Selections) -> str:
        """Over which varied settings a claim's sets of cells are means, in words."""
        words: dict[str, list[str]] = {}
        for key, found in selections.items():
            for axes in found:
                free = [axis for axis in self.varied if axis not in axes]
                own = self.runs[self.runs["method"].isin(axes["method"])]
                if mean := mean_over(own, free):
                    words.setdefault(mean, []).append(key)
        return "; ".join(
            mean if set(keys) == set(selections) else f"{' and '.join(dict.fromkeys(keys))}: {mean}"
            for mean, keys in words.items()
        )

    def check(self, named: Sequence[Cell], wide: pd.DataFrame) -> None:
        """Refuse to test a claim about cells that the study lacks, and say which.

        Args:
            named: cells of the claim.
            wide: what was measured, a column for each cell.

        Raises:
            NotTested: naming values of an axis that no run has, or cells.
        """
        there = set(self.runs[self.axes].itertuples(index=False, name=None))
        if missing := [cell for cell in named if cell not in there]:
            raise NotTested(f"not in the study: {self._absent(named) or self._listed(missing)}")
        if missing := [cell for cell in named if cell not in wide]:
            raise NotTested(f"not measured: {self._listed(missing)}")

    def _absent(self, named: Sequence[Cell]) -> str:
        """Values of an axis that no run of the block has, in words; empty if there are none."""
        words = []
        for index, axis in enumerate(self.axes):
            wanted = dict.fromkeys(cell[index] for cell in named)
            absent = [str(value) for value in wanted if value not in set(self.runs[axis])]
            if absent and not (axis in self.varied and absent == [NOT_READ]):
                words.append(f"{axis} {', '.join(absent)}")
        return "; ".join(words)

    def _listed(self, cells: Sequence[Cell], most: int = 4) -> str:
        """Cells in words, the first few of many."""
        shown = [
            " ".join(word for axis, value in zip(self.axes, cell) if (word := _word(axis, value)))
            for cell in cells[:most]
        ]
        more = f" and {len(cells) - most} more" if len(cells) > most else ""
        return ", ".join(shown) + more


def restricted(runs: pd.DataFrame, axis: str, values: list[Any]) -> pd.DataFrame:
    """Runs with one of these values of an axis; of a varied setting also those it means nothing to.

    Raises:
        NotTested: there are none, or the study does not vary this setting.
    """
    _check_varied(runs, axis)
    if axis not in varied_axes(runs):
        runs = runs[runs[axis].isin(values)]
        if runs.empty:
            raise NotTested("not in the study: any such run")
        return runs
    kept = runs[axis].isin(_as_in_study(values, runs[axis]))
    if not kept.any():
        raise NotTested(about_only(axis, values))
    return runs[kept | (runs[axis] == NOT_READ)]


def _check_varied(runs: pd.DataFrame, axis: str) -> None:
    if axis not in runs:
        raise NotTested(f"the study does not vary {axis}")


def _as_in_study(values: list[str], column: pd.Series[str]) -> list[str]:
    """Values of a setting as the study writes them; `NOT_READ` where no run reads it."""
    there = list(column.unique())
    if there == [NOT_READ]:
        return there
    return [next((t for t in there if same_value(t, value)), value) for value in values]


def _word(axis: str, value: Any) -> str:
    """A value in words; empty for a setting that is not read."""
    if axis == "density":
        return f"density {value:g}"
    if axis in CONFIGURATION:
        return str(value)
    return "" if value == NOT_READ else f"{axis} {value}"
