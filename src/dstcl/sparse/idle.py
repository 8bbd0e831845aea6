"""Layers that no update reaches are told once."""

from __future__ import annotations

import warnings
from collections.abc import Set

from dstcl.sparse.layers import first_few

UPDATES = 10
"""After so many the warning comes."""


class IdleLayers:
    """Warns of layers that had no gradient at any of the first updates."""

    def __init__(self) -> None:
        self._updates = 0
        self._always: Set[str] = frozenset()

    def take(self, idle: Set[str]) -> None:
        """Take note of the layers that had none at one update."""
        self._always = self._always & idle if self._updates else idle
        self._updates += 1
        if self._updates == UPDATES and self._always:
            warnings.warn(
                f"no gradient at any of {UPDATES} updates, so masks did not change: "
                f"{first_few(sorted(self._always))}; of optimizers that take turns, updates see "
                "the gradients at the first step of each round",
                stacklevel=2,
            )
