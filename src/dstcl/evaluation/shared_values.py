"""Which values of settings all have that are compared with each other.

A comparison must be made at the same values of everything else, but a study may vary a setting in
some of its cells alone, as preset paper varies the update interval under random growth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

Values = tuple[Any, ...]
"""Of some settings, in one order; None where one is not read, which goes with every value."""


def that_all_have(offers: Iterable[Collection[Values]]) -> set[Values]:
    """The values of each offer that agree with some of every other one.

    Repeated until none is lost, since values may have agreed only with some that were.
    """
    left = {frozenset(offer) for offer in offers}
    while True:
        fewer = {
            frozenset(
                values
                for values in offer
                if all(any(_agree(values, one) for one in other) for other in left)
            )
            for offer in left
        }
        if fewer == left:
            return {values for offer in left for values in offer}
        left = fewer


def _agree(one: Values, other: Values) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))
