"""Dynamic sparse training: prune the least useful weights, grow as many new ones, repeat."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.sparse.criteria import Criterion, LayerView, growth_plan, prune_criterion
from dstcl.sparse.masks import select_top
from dstcl.sparse.moments import Moments
from dstcl.sparse.schedule import UpdateSchedule
from dstcl.sparse.training import SparseTraining

CANDIDATES = ("all", "free", "published")


class DynamicSparseTraining(SparseTraining):
    """Sparse training whose mask changes while the weights are trained.

    Every ``update_every`` steps each layer loses a share of its active weights and grows exactly
    as many among its inactive ones (weights pruned a moment ago included; one that is grown back
    keeps its value, as in RigL). A new free weight starts at zero; a new frozen weight takes its
    stored value, which is what sharing a weight with an earlier task means.

        dst = DynamicSparseTraining(model, optimizer, density=0.1, init="erk", grow="gradient",
                                    update_every=100, total_steps=5000, generator=g)
        for x, y in batches:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            dst.step()                      # replaces optimizer.step()

    Args:
        total_steps: optimiser steps that will be made.
        update_every: steps between topology updates.
        prune: criterion that chooses what goes, see `dstcl.sparse.criteria.PRUNE`.
        grow: criterion that chooses what comes, see `GROW`; ``"random-then-gradient"`` switches.
        switch_at: fraction of the steps after which a switching growth changes criterion.
        prune_rate, floor, prune_schedule, stop_at: see `UpdateSchedule`.
        candidates: which inactive weights may be grown: "all", or only "free" ones. "published":
            all, but gradient and momentum of frozen ones read as zero, as in the paper's code, so
            that these two criteria avoid them and random growth does not.
        **sparse: everything `SparseTraining` takes.

    Raises:
        ValueError: an unknown name, or a value out of range.
    """

    _bias_correction = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        update_every: int = 100,
        prune: str = "magnitude",
        grow: str = "gradient",
        switch_at: float = 0.5,
        prune_rate: float = 0.5,
        floor: float = 0.005,
        prune_schedule: str = "cosine",
        stop_at: float = 0.75,
        candidates: str = "all",
        **sparse: Any,
    ) -> None:
        if candidates not in CANDIDATES:
            raise ValueError(f"unknown candidates {candidates!r}; known: {', '.join(CANDIDATES)}")
        self.prune = prune_criterion(prune)
        self.grow = growth_plan(grow, switch_at)
        self.candidates = candidates
        self.schedule = UpdateSchedule(
            total_steps, update_every, prune_rate, floor, prune_schedule, stop_at
        )
        self.updates = 0
        super().__init__(model, optimizer, **sparse)
        self._gradients: list[Tensor] | None = None
        self._moments: Moments | None = None
        if self._needs("momentum"):
            self._moments = Moments(self._parameters, optimizer.defaults, self._bias_correction)

    def prune_rate(self) -> float:
        """Fraction of the active weights that an update after the current step replaces."""
        return self.schedule.rate(self.steps)

    def state_dict(self) -> dict[str, Any]:
        """As `SparseTraining.state_dict`, with the running gradients."""
        moments = self._moments.state_dict() if self._moments else None
        return super().state_dict() | {"updates": self.updates, "moments": moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this."""
        super().load_state_dict(state)
        self.updates = state["updates"]
        if self._moments is not None:
            self._moments.load_state_dict(state["moments"])

    def _needs(self, what: str) -> bool:
        flag = f"needs_{what}"
        return getattr(self.prune, flag) or getattr(self.grow, flag)

    def _observe(self, gradients: list[Tensor]) -> None:
        wanted = self.schedule.due(self.steps) and self._needs("gradient")
        if not wanted and self._moments is None:
            return
        if self.candidates == "published":
            gradients = [g * ~f for g, f in zip(gradients, self.frozen.values(), strict=True)]
        if self._moments is not None:
            self._moments.update(gradients)
        if wanted:
            self._gradients = [g.clone() for g in gradients]

    def _update_topology(self) -> None:
        if not self.schedule.due(self.steps):
            return
        rate = self.prune_rate()
        growth = self.grow.at(self.steps / self.schedule.total_steps)
        for index, name in enumerate(self.weights):
            self._update_layer(index, name, rate, growth)
        self._gradients = None
        self._refresh_multipliers()
        self._restore_fixed_weights()
        self.updates += 1
        self.check_counts()

    def _update_layer(self, index: int, name: str, rate: float, growth: Criterion) -> None:
        mask, weight = self.masks[name], self._parameters[index]
        replaced = min(ceil(rate * self.counts[name]), self._room(name))
        if replaced == 0:
            return
        view = self._view(index, name)
        kept = mask & ~select_top(-self.prune.score(view), mask, replaced)
        candidates = ~kept & ~self.frozen[name] if self.candidates == "free" else ~kept
        new_mask = kept | select_top(growth.score(view), candidates, replaced)
        self._reset_optimizer_state(weight, mask & new_mask)
        mask.copy_(new_mask)
        self.explored[name].logical_or_(new_mask)

    def _view(self, index: int, name: str) -> LayerView:
        return LayerView(
            weight=self._parameters[index],
            explored=self.explored[name],
            gradient=self._gradients[index] if self._gradients else None,
            momentum=self._moments.score(index) if self._moments else None,
            generator=self.generator,
        )

    def _room(self, name: str) -> int:
        """How many weights of a layer can be grown without growing back what was pruned."""
        if self.candidates == "free":
            return int((~self.masks[name] & ~self.frozen[name]).sum())
        return self.masks[name].numel() - self.counts[name]

    def _reset_optimizer_state(self, weight: Tensor, unchanged: Tensor) -> None:
        """Forget moments of weights that came or went, as RigL does for new ones."""
        for state in self.optimizer.state.get(weight, {}).values():
            if isinstance(state, Tensor) and state.shape == weight.shape:
                state.mul_(unchanged)
