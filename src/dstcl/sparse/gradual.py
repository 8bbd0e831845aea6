"""Dense to sparse: start with every weight and prune by magnitude until the density is met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dstcl.sparse.densities import Init
from dstcl.sparse.groups import Groups
from dstcl.sparse.layers import Names
from dstcl.sparse.masks import Masks
from dstcl.sparse.optimizers import Optimizers
from dstcl.sparse.schedule import refuse_no_fraction, rounded_down
from dstcl.sparse.selection import select_top
from dstcl.sparse.training import SparseTraining


class GradualMagnitudePruning(SparseTraining):
    """Gradual magnitude pruning with the cubic schedule of Zhu and Gupta 2017.

    After ``t`` steps a layer whose final density is ``d`` keeps the largest
    ``d + (1 - d) (1 - t / T)^3`` of its weights, ``T`` being ``stop_at * total_steps``. Pruned
    weights do not come back. The comparison for dynamic sparse training that may look at all
    weights: it costs a dense training and, between tasks, uses every weight for a while but keeps
    only those of the final mask.

    With ``masks`` pruning goes on from these, in the same way: ``1`` above is then their density. A
    layer that has fewer weights than it is to keep stays as it is.

    Args:
        total_steps: optimiser steps that will be made.
        update_every: steps between prunings.
        stop_at: fraction of the steps after which the final mask is trained alone.

    All others are those of `SparseTraining`; ``density`` is needed.
    """

    density_beside_masks: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizers,
        *,
        density: float,
        total_steps: int,
        update_every: int = 100,
        stop_at: float = 0.75,
        init: str | Init = "erk",
        frozen: Mapping[str, Tensor] | None = None,
        exclude: Names = (),
        include: Names = (),
        overrides: Mapping[str, float] | None = None,
        groups: Groups | None = None,
        masks: Mapping[str, Tensor] | Literal["nonzero"] | None = None,
        regrown: str = "stored",
        generator: torch.Generator | None = None,
        sync: bool = True,
    ) -> None:
        if update_every < 1 or total_steps < 1:
            raise ValueError("update_every and total_steps must be at least 1")
        refuse_no_fraction("stop_at", stop_at)
        super().__init__(
            model, optimizer, density=density, init=init, frozen=frozen, exclude=exclude,
            include=include, overrides=overrides, groups=groups, masks=masks, regrown=regrown,
            generator=generator, sync=sync,
        )  # fmt: skip
        self.update_every = update_every
        self.last_step = max(1, rounded_down(stop_at, total_steps))

    def begin(self) -> None:
        """See `SparseTraining.begin`."""
        super().begin()
        self._first_counts = dict(self.counts)

    def state_dict(self) -> dict[str, Any]:
        """As `SparseTraining.state_dict`, with the counts from which pruning goes on."""
        return super().state_dict() | {"first_counts": dict(self._first_counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this."""
        first_counts = dict(state["first_counts"])
        super().load_state_dict(state)
        self._first_counts = first_counts

    def target_counts(self, step: int) -> dict[str, int]:
        """Active weights of each layer after ``step`` steps; exactly `budget` at the end."""
        remaining = (1 - min(1.0, step / self.last_step)) ** 3
        first = self._first_counts
        final = {name: min(first[name], count) for name, count in self.budget.items()}
        return {n: final[n] + int((first[n] - final[n]) * remaining) for n in self.shapes}

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
        self._warn_of_divergence()
        for name, count in self.target_counts(self.steps).items():
            kept = select_top(self.weights[name].abs(), self.masks[name], count)
            self.set_mask(name, kept, count)
