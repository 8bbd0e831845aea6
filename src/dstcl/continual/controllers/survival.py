"""How many of the weights that a criterion grew are still active some updates later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Shares = dict[str, dict[str, float]]
"""By layer and criterion."""
Numbers = dict[str, dict[str, int]]
"""By layer and criterion."""

LONGEST = 1000
"""Updates after which weights can be judged at most: an int16 has room for 31 criteria then."""


class Survival:
    """Remembers which update and which criterion grew a weight, and judges each update once.

    A weight's origin is one int16: 0, or ``1 + update % (after + 1) + (after + 1) * criterion``.
    What was judged is forgotten, so the numbers of updates can begin anew. A weight that is pruned
    and grown again within ``after`` updates did not survive: it has a new origin.

    Args:
        weights: by layer; for their shapes and device.
        after: updates from growth to judgement, at least 1.

    Raises:
        ValueError: ``after`` is out of range.
    """

    def __init__(self, weights: Mapping[str, Tensor], after: int) -> None:
        if not 1 <= after <= LONGEST:
            raise ValueError(f"survival_after: {after}; should be from 1 to {LONGEST}")
        self.after = after
        self._criteria: list[str] = []
        self._grown: dict[int, Numbers] = {}
        self._origin = {n: torch.zeros(w.shape, dtype=torch.int16, device=w.device)
                        for n, w in weights.items()}  # fmt: skip

    def grew(self, update: int, layer: str, criterion: str, picked: Tensor, count: int) -> None:
        """Take note of what a criterion grew in an update, counted from 0."""
        if not count:
            return
        if criterion not in self._criteria:
            self._criteria.append(criterion)
        self._origin[layer].masked_fill_(picked, self._code(update, criterion))
        own = self._grown.setdefault(update, {}).setdefault(layer, {})
        own[criterion] = own.get(criterion, 0) + count  # one criterion may pick twice in a mix

    def forget(self, layer: str, places: Tensor) -> None:
        """Weights there were not grown: what was, did not survive."""
        self._origin[layer].masked_fill_(places, 0)

    def judge(self, update: int, masks: Mapping[str, Tensor]) -> tuple[Shares, Numbers]:
        """After an update, the share of the weights grown ``after`` updates ago that are active.

        Returns:
            The shares, and how many weights had been grown; empty where nothing was. One wait for
            the device.
        """
        grown = self._grown.pop(update - self.after, {})
        alive = []
        for layer, numbers in grown.items():
            origin = self._origin[layer]
            for criterion in numbers:
                found = origin == self._code(update - self.after, criterion)
                alive.append((found & masks[layer]).count_nonzero())
                origin.masked_fill_(found, 0)
        counts = iter(torch.stack(alive).tolist() if alive else ())
        shares = {
            layer: {criterion: next(counts) / number for criterion, number in numbers.items()}
            for layer, numbers in grown.items()
        }
        return shares, grown

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered: JSON values and tensors."""
        origin = {layer: origin.clone() for layer, origin in self._origin.items()}
        return {
            "after": self.after,
            "criteria": list(self._criteria),
            "grown": dict(self._grown),
            "origin": origin,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._criteria, self._grown = list(state["criteria"]), dict(state["grown"])
        for layer, origin in self._origin.items():
            origin.copy_(state["origin"][layer])

    def _code(self, update: int, criterion: str) -> int:
        slots = self.after + 1
        code = 1 + update % slots + slots * self._criteria.index(criterion)
        if code > torch.iinfo(torch.int16).max:
            raise ValueError(f"survival_after: {self.after}; too long for so many criteria")
        return code
