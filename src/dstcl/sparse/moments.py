"""A running dense gradient, for momentum growth.

The optimiser's own moments cannot serve: gradients of inactive weights are masked before it sees
them, and these are the ones growth must compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dstcl.sparse import foreach

EPS = 1e-8


class Moments:
    """Running moments of the unmasked gradients, one tensor per layer.

    For optimisers with ``betas`` (Adam, AdamW) the score is the bias-corrected first moment over
    the root of the second, else the gradient accumulated with the optimiser's momentum (0.9 if
    it has none). Of three betas (Adan, AdEMAMix) these are the first and the last.

    Args:
        like: the weights.
        defaults: of the optimiser.
        corrected: divide Adam's moments by their bias.
    """

    def __init__(
        self, like: Sequence[Tensor], defaults: Mapping[str, Any], corrected: bool = True
    ) -> None:
        self._corrected = corrected
        betas = defaults.get("betas")
        self._betas: tuple[float, float] | None = (betas[0], betas[-1]) if betas else None
        self._momentum = float(defaults.get("momentum") or 0.9)
        self.first = [torch.zeros_like(t) for t in like]
        self.second = [torch.zeros_like(t) for t in like] if self._betas else []

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor]) -> None:
        """Take in the dense gradients of one mini-batch, in the order of the layers."""
        if self._betas is None:
            foreach.accumulate_(self.first, gradients, self._momentum)
            return
        beta1, beta2 = self._betas
        foreach.average_(self.first, gradients, beta1)
        foreach.average_squares_(self.second, gradients, beta2)

    @torch.no_grad()
    def forget_non_finite(self) -> None:
        """Make entries zero that are not finite: an average would keep them for ever."""
        moments = self.first + self.second
        # A sum is cheaper than looking at every entry; it waits for the device once.
        sound = torch.stack([moment.sum().isfinite() for moment in moments]).tolist()
        for moment in (moment for moment, is_sound in zip(moments, sound) if not is_sound):
            moment.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)

    def score(self, index: int, updates: int) -> Tensor:
        """The running gradient of one layer after so many updates."""
        if self._betas is None or updates == 0:
            return self.first[index]
        beta1, beta2 = self._betas
        bias1, bias2 = 1 - beta1**updates, 1 - beta2**updates
        if not self._corrected:
            bias1 = bias2 = 1.0
        root = (self.second[index] / bias2).sqrt_().add_(EPS)
        return (self.first[index] / bias1).div_(root)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit."""
        return {
            "first": [t.clone() for t in self.first],
            "second": [t.clone() for t in self.second],
        }

    def refuse_other(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that these moments cannot take.

        Raises:
            ValueError: it is of an optimiser with another number of moments.
        """
        if bool(state["second"]) != bool(self.second):
            has, not_has = ("has", "does not") if state["second"] else ("lacks", "does")
            raise ValueError(
                f"the state {has} squares of running gradients, which this optimizer {not_has} "
                "use: Adam has them, SGD has not"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for mine, theirs in zip(self.first + self.second, state["first"] + state["second"]):
            mine.copy_(theirs)
