"""The cells of one block of a study, as claims name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, product
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
from dstcl.evaluation.claim_common import ANY, Cell, Offers, in_common, places_read, without_rules
from dstcl.evaluation.replication import SEEDS, Unit
from dstcl.study.controllers import CONTROLLER, FIXED

Sets = dict[str, list[list[Cell]]]
"""Cells by the key of the claim that names them, a list for each selection."""
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
        self._there: dict[Cell, list[Cell]] = {}
        for cell in dict.fromkeys(runs[self.axes].itertuples(index=False, name=None)):
            self._there.setdefault(_configuration(cell), []).append(cell)

    def sets(self, selections: Selections) -> tuple[Sets, str]:
        """The cells that a claim compares, and over which varied settings they are means, in words.

        Of a varied setting that a selection does not name, the values that all named cells have
        (`in_common`); of the controller `FIXED` alone, if it is among them (`without_rules`).

        Raises:
            NotTested: a setting is named that the study does not vary, or no value is common.
        """
        named = {
            key: [self._named(axes) for axes in several] for key, several in selections.items()
        }
        offers = {
            one: self._standing_for(one)
            for several in named.values()
            for found in several
            for one in found
        }
        kept = self._in_common(offers)
        sets = {
            key: [[cell for one in found for cell in kept[one]] for found in several]
            for key, several in named.items()
        }
        notes = [self._averaged(selections, sets), *self._left_out(offers, kept)]
        return sets, "; ".join(filter(None, notes))

    def cells(self, axes: dict[str, list[Any]]) -> list[Cell]:
        """All cells of the study with these values."""
        return [cell for one in self._named(axes) for cell in self._standing_for(one)]

    def _named(self, axes: dict[str, list[Any]]) -> list[Cell]:
        """Cells as a selection names them, with `ANY` for varied settings that it does not."""
        for axis in axes:
            _check_varied(self.runs, axis)
        found: list[Cell] = []
        for method in axes["method"]:
            own = self.runs[self.runs["method"] == method]
            named = {"method": [method]} | {axis: axes[axis] for axis in CONFIGURATION[1:]}
            for axis in self.varied:
                if axis not in axes:
                    named[axis] = [ANY]
                    continue
                named[axis] = _as_in_study(axes[axis], own[axis])
                if own[axis].isin(named[axis]).any():
                    own = own[own[axis].isin(named[axis])]
            found += product(*named.values())
        return found

    def _standing_for(self, named: Cell) -> list[Cell]:
        """The study's cells that a named one means; if there are none, one that it lacks."""
        found = [
            cell
            for cell in self._there.get(_configuration(named), [])
            if all(wanted in (ANY, value) for wanted, value in zip(named, cell))
        ]
        return found or [tuple(NOT_READ if value is ANY else value for value in named)]

    def _in_common(self, offers: Offers) -> Offers:
        """Of the cells that are meant, those whose unnamed settings all named ones have."""
        there = chain(*self._there.values())
        if not set(chain(*offers.values())) <= set(there):
            return offers  # `check` refuses them and names what the study lacks
        kept = in_common(offers)
        if not all(kept.values()):
            free = {self.axes[place] for found in places_read(offers).values() for place in found}
            axes = " and ".join(axis for axis in self.varied if axis in free)
            raise NotTested(f"the cells that the claim names have no value of {axes} in common")
        if CONTROLLER not in self.varied:
            return kept
        # Once more, as values that others have under a rule alone are no longer common.
        return in_common(without_rules(kept, self.axes.index(CONTROLLER)))

    def reads(self, method: str, axis: str) -> bool:
        """Whether a varied setting means something to a method."""
        return bool(values_read(self.runs[self.runs["method"] == method], axis))

    def unnamed(self, selections: Selections) -> list[str]:
        """Varied settings of which a claim says nothing."""
        named = {axis for found in selections.values() for axes in found for axis in axes}
        return [axis for axis in self.varied if axis not in named]

    def _averaged(self, selections: Selections, sets: Sets) -> str:
        """Over which varied settings a claim's sets of cells are means, in words."""
        words: dict[str, list[str]] = {}
        for key, several in selections.items():
            for axes, cells in zip(several, sets[key]):
                free = [axis for axis in self.varied if axis not in axes]
                if mean := mean_over(pd.DataFrame(cells, columns=self.axes), free):
                    words.setdefault(mean, []).append(key)
        return "; ".join(
            mean if set(keys) == set(selections) else f"{' and '.join(dict.fromkeys(keys))}: {mean}"
            for mean, keys in words.items()
        )

    def _left_out(self, offers: Offers, kept: Offers) -> list[str]:
        """Which values of unnamed settings are used, in words, where others are not."""
        notes = []
        for place, axis in enumerate(self.axes):
            free = [one for one in offers if one[place] is ANY]
            had, used = (
                list(dict.fromkeys(cell[place] for one in free for cell in found[one]))
                for found in (offers, kept)
            )
            if not (others := [value for value in had if value not in used]):
                continue
            used = [value for value in used if value != NOT_READ] or used
            reason = f"not all cells have {', '.join(others)}"
            if axis == CONTROLLER and used == [FIXED]:
                reason = "the claim names no other"
            notes.append(f"{axis} {', '.join(used)} only, as {reason}")
        if not notes and offers != kept:
            notes.append(f"only combinations of {' and '.join(self.varied)} that all cells have")
        return notes

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


def _configuration(cell: Cell) -> Cell:
    return cell[: len(CONFIGURATION)]


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
