"""PackNet: train every weight that is left, keep the largest, give the rest back."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.sparse import SparseTraining, select_top
from dstcl.sparse.masks import Masks

PRUNE_AT = 2 / 3
"""Share of a task's steps before pruning; the rest retrains what is kept. Mallya and Lazebnik 2018
train for 20 epochs and retrain for 10."""


class PackNetTraining(SparseTraining):
    """One task of PackNet (Mallya and Lazebnik 2018), within the budget of the other methods.

    All weights are active at first: frozen ones with their stored values, free ones trained. After
    `PRUNE_AT` of the steps each layer keeps its largest free weights, as many as ``density`` and
    ``init`` say or as are left, and all frozen ones; the rest is given back. So a task uses
    everything earlier tasks use, and ``density`` is what it may add.

    Args:
        total_steps: optimiser steps of the task.
        **sparse: everything `SparseTraining` takes.
    """

    keeps_stored: ClassVar[bool] = True

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, total_steps: int, **sparse: Any
    ) -> None:
        super().__init__(model, optimizer, **sparse)
        self.prune_step = max(1, int(PRUNE_AT * total_steps))

    def settled(self) -> bool:
        """Whether the task has given back what it does not keep."""
        return self.steps >= self.prune_step

    def changes_masks(self, step: int) -> bool:
        """Whether the pruning follows the step."""
        return step == self.prune_step

    def first_masks(self) -> Masks:
        """Every weight."""
        return {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}

    def update_topology(self) -> None:
        """Keep the largest free weights, as many as the budget has, and all frozen ones."""
        for name, weight in self.weights.items():
            free = ~self.frozen[name]
            left = int(free.sum())
            added = min(self.budget[name], left)
            kept = self.frozen[name] | select_top(weight.abs(), free, added)
            self.set_mask(name, kept, weight.numel() - left + added)


class PackNet(Method):
    """A sub-network per task on top of all earlier ones (Mallya and Lazebnik 2018)."""

    nested = True

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return PackNetTraining(
            task.network, task.optimizer, total_steps=task.steps, **self.common(task)
        )
