"""Which values of the settings that a claim does not name all of its cells have."""

from __future__ import annotations

from typing import Any

from dstcl.evaluation.axes import NOT_READ
from dstcl.evaluation.shared_values import that_all_have
from dstcl.study.controllers import FIXED

Cell = tuple[Any, ...]
Offers = dict[Cell, list[Cell]]
"""Cells of a study by the named one that means them, with `ANY` in place of unnamed settings."""
ANY = None
"""In place of the value of a varied setting that a claim does not name."""


def in_common(offers: Offers) -> Offers:
    """Of each named cell, the cells whose unnamed settings all others have too.

    A cell that does not read a setting says nothing of it.
    """
    read = places_read(offers)
    values = {
        one: [
            tuple(value if place in read[one] else None for place, value in enumerate(cell))
            for cell in cells
        ]
        for one, cells in offers.items()
    }
    common = that_all_have(values.values())
    return {
        one: [cell for cell, found in zip(cells, values[one]) if found in common]
        for one, cells in offers.items()
    }


def without_rules(offers: Offers, place: int) -> Offers:
    """Without cells under a controller that is not named, if there are some without any.

    Under a rule, growths, inits and densities are not what a claim that names no rule says of them.

    Args:
        offers: that have their unnamed settings in common.
        place: of the controller in a cell.
    """
    free = {one: cells for one, cells in offers.items() if one[place] is ANY}
    if not any(cell[place] == FIXED for cells in free.values() for cell in cells):
        return offers
    return offers | {
        one: [cell for cell in cells if cell[place] in (FIXED, NOT_READ)]
        for one, cells in free.items()
    }


def places_read(offers: Offers) -> dict[Cell, list[int]]:
    """Where in a cell the unnamed settings are that each named one reads.

    A cell does not read a setting of which it has `NOT_READ` alone; beside other values "none" is a
    value, as of ``training.augment``.
    """
    values = {
        one: {
            place: {cell[place] for cell in cells}
            for place, wanted in enumerate(one)
            if wanted is ANY
        }
        for one, cells in offers.items()
    }
    none_is_a_value = {
        place
        for found in values.values()
        for place, there in found.items()
        if NOT_READ in there and len(there) > 1
    }
    return {
        one: [p for p, there in found.items() if p in none_is_a_value or there != {NOT_READ}]
        for one, found in values.items()
    }
