"""Dense to sparse: start with every weight and prune by magnitude until the density is met."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import nn

from dstcl.sparse.masks import Masks
from dstcl.sparse.selection import select_top
from dstcl.sparse.training import SparseTraining


class GradualMagnitudePruning(SparseTraining):
    """Gradual magnitude pruning with the cubic schedule of Zhu and Gupta 2017.

    After ``t`` steps a layer whose final density is ``d`` keeps the largest
    ``d + (1 - d) (1 - t / T)^3`` of its weights, ``T`` being ``stop_at * total_steps``. Pruned
    weights do not come back. The comparison for dynamic sparse training that may look at all
    weights: it costs a dense training and, between tasks, uses every weight for a while but keeps
    only those of the final mask.

    Args:
        total_steps: optimiser steps that will be made.
        update_every: steps between prunings.
        stop_at: fraction of the steps after which the final mask is trained alone.
        **sparse: everything `SparseTraining` takes, except ``structure``.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        update_every: int = 100,
        stop_at: float = 0.75,
        **sparse: Any,
    ) -> None:
        if update_every < 1 or total_steps < 1:
            raise ValueError("update_every and total_steps must be at least 1")
        super().__init__(model, optimizer, **sparse)
        if self.structures:
            raise ValueError("structure: gradual pruning has none; use DynamicSparseTraining")
        self.update_every = update_every
        self.last_step = max(1, int(stop_at * total_steps))

    def target_counts(self, step: int) -> dict[str, int]:
        """Active weights of each layer after ``step`` steps; exactly `budget` at the end."""
        remaining = (1 - min(1.0, step / self.last_step)) ** 3
        sizes = {name: prod(shape) for name, shape in self.shapes.items()}
        final = self.budget
        return {n: final[n] + int((sizes[n] - final[n]) * remaining) for n in self.shapes}

    def settled(self) -> bool:
        """Whether the last pruning is done."""
        return self.steps >= self.last_step

    def first_masks(self) -> Masks:
        """Every weight."""
        return {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}

    def changes_masks(self, step: int) -> bool:
        """Whether a pruning follows the step."""
        return step == self.last_step or (step % self.update_every == 0 and step < self.last_step)

    def update_topology(self) -> None:
        """Keep as many of the largest weights as the schedule says."""
        for name, count in self.target_counts(self.steps).items():
            kept = select_top(self.weights[name].abs(), self.masks[name], count)
            self.set_mask(name, kept, count)
