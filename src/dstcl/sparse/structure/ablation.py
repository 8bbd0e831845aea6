"""Constant fan-in that may give up outputs: neuron ablation (SRigL; Lasby et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor

from dstcl.sparse.selection import select_top
from dstcl.sparse.structure.base import Topology
from dstcl.sparse.structure.groups import FanIn, per_output

SALIENT = 0.3
"""Share of an output's weights that must be salient, unless another is given."""


@dataclass(frozen=True)
class AblatingFanIn(FanIn):
    """Constant fan-in over the outputs that are worth it; the others lose all their weights.

    A weight is salient if it would be active after an update without a structure. An output with
    fewer salient weights than ``share`` of its fan-in is ablated, for good, and the others take
    over its weights: their fan-in becomes the whole number nearest to budget / outputs left. The
    biases of ablated outputs stay.

    Attributes:
        share: in (0, 1].
    """

    share: float = SALIENT

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"structure {self.name}: the share must be in (0, 1]")

    @property
    def name(self) -> str:  # type: ignore[override]
        """As it is given."""
        return f"fan-in:ablate={self.share:g}"

    def replace(self, layer: Topology) -> tuple[Tensor, int]:
        """Ablate, prune layer-wide, let each output that is left grow up to the new fan-in."""
        kept = layer.mask & ~self._gone(layer)
        outputs = self.count(layer.mask) > 0
        before = int(outputs.count_nonzero())
        alive = self._alive(layer, kept, outputs, before)
        after = int(alive.count_nonzero())
        fan_in = layer.active // before
        if after < before:
            fan_in = max(fan_in, per_output(tuple(kept.shape), layer.budget, after))
            kept = kept & alive.view(-1, *[1] * (kept.dim() - 1))
        missing = (fan_in - self.count(kept)) * alive
        return kept | self._highest(layer.grow, ~kept, missing), after * fan_in

    def problem_of_mask(self, mask: Tensor) -> str:
        """Which numbers of active weights its outputs have, if not one number or none."""
        counts = self.count(mask)
        counts = counts[counts > 0]
        if not len(counts):
            return "no active weight"
        low, high = int(counts.min()), int(counts.max())
        return "" if low == high else f"{low} to {high} active weights for an output"

    def _alive(self, layer: Topology, kept: Tensor, outputs: Tensor, before: int) -> Tensor:
        """Which outputs stay; never so few that the budget does not fit into them."""

        def enough(salient: Tensor) -> Tensor:
            return salient * before >= self.share * layer.active

        if bool((enough(self.count(kept)) | ~outputs).all()):  # whatever would be grown
            return outputs
        gone = layer.active - int(kept.count_nonzero())
        grown = select_top(layer.grow, ~kept, gone)
        salient = self.count(kept | grown)
        alive = outputs & enough(salient)
        least = min(before, ceil(layer.budget / prod(kept.shape[1:])))
        if int(alive.count_nonzero()) >= least:
            return alive
        return select_top(salient.to(torch.float32), outputs, least)
