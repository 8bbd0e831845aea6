"""Dynamic sparse training: prune the least useful weights, grow as many new ones, repeat."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.sparse.checks import refuse_nan
from dstcl.sparse.criteria import (
    Criterion,
    Growth,
    LayerView,
    Prune,
    growth_plan,
    prune_criterion,
)
from dstcl.sparse.moments import Moments
from dstcl.sparse.redistribution import REDISTRIBUTE, allocate, shares
from dstcl.sparse.schedule import UpdateSchedule
from dstcl.sparse.selection import select_top
from dstcl.sparse.structure import UNSTRUCTURED, Topology
from dstcl.sparse.structure.parse import refuse_settings
from dstcl.sparse.training import SparseTraining

CANDIDATES = ("all", "free", "frozen_without_gradient")


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
        prune: criterion that chooses what goes: a name in `PRUNE`, a `Criterion`, a function from
            a `LayerView` to scores, or the ``module:attribute`` of either.
        grow: criterion that chooses what comes: the same with names in `GROW`, a switch between two
            as ``"random-then-gradient"``, or a `GrowthPlan`.
        switch_at: fraction of the steps after which a switching growth changes criterion.
        prune_rate, floor, prune_schedule, stop_at: see `UpdateSchedule`.
        candidates: which inactive weights may be grown: "all", or only "free" ones.
            "frozen_without_gradient": all, but gradient and momentum of frozen ones read as zero,
            so that criteria that look at these avoid frozen weights and random growth does not.
        redistribute: "none": every layer grows what it lost; "momentum", "gradient" or "nonzeros":
            layers compete for it and only the total is exact (`dstcl.sparse.redistribution`).
        **sparse: everything `SparseTraining` takes.

    Raises:
        ValueError: an unknown name, or a value out of range; in `step`, a criterion that does not
            return scores (`check_criterion` finds out before).
    """

    _bias_correction = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        update_every: int = 100,
        prune: Prune = "magnitude",
        grow: Growth = "gradient",
        switch_at: float = 0.5,
        prune_rate: float = 0.5,
        floor: float = 0.005,
        prune_schedule: str = "cosine",
        stop_at: float = 0.75,
        candidates: str = "all",
        redistribute: str = "none",
        **sparse: Any,
    ) -> None:
        if candidates not in CANDIDATES:
            raise ValueError(f"unknown candidates {candidates!r}; known: {', '.join(CANDIDATES)}")
        if redistribute not in ("none", *REDISTRIBUTE):
            known = ", ".join(("none", *REDISTRIBUTE))
            raise ValueError(f"unknown redistribute {redistribute!r}; known: {known}")
        super().__init__(model, optimizer, **sparse)
        refuse_settings(self.structures, candidates, redistribute)
        self.redistribute = redistribute
        self.prune = prune_criterion(prune)
        self.grow = growth_plan(grow, switch_at)
        self.candidates = candidates
        self.schedule = UpdateSchedule(
            total_steps, update_every, prune_rate, floor, prune_schedule, stop_at
        )
        self.updates = 0
        self._proven: list[Criterion] = []
        self._gradients: list[Tensor] | None = None
        self._moments: Moments | None = None
        if self._needs("momentum"):
            self._moments = Moments(self._parameters, optimizer.defaults, self._bias_correction)

    def changes_masks(self, step: int) -> bool:
        """Whether a topology update follows the step."""
        return self.schedule.due(step)

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
        asked = getattr(self.prune, flag) or getattr(self.grow, flag)
        return asked or self.redistribute == what

    def before_masking(self, gradients: list[Tensor]) -> None:
        """Take note of the gradients, where a criterion in use asks for them."""
        wanted = self.changes_masks(self.steps) and self._needs("gradient")
        if not wanted and self._moments is None:
            return
        if self.candidates == "frozen_without_gradient" and self._any_frozen:
            gradients = [g * ~f for g, f in zip(gradients, self.frozen.values(), strict=True)]
        if self._moments is not None:
            self._moments.update(gradients)
        if wanted:
            self._gradients = [g.clone() for g in gradients]

    def update_topology(self) -> None:
        """Prune and grow every layer."""
        growth = self.grow.at(self.steps / self.schedule.total_steps)
        self._replace_weights(self.prune_rate(), growth)
        self._gradients = None
        self._proven = [self.prune, growth]
        self.updates += 1

    def _replace_weights(self, rate: float, growth: Criterion) -> None:
        """Prune every layer, decide how many each one grows, grow."""
        if self.structures:
            for index, name in enumerate(self.weights):
                self._replace_structured(index, name, rate, growth)
            return
        views = [self._view(index, name) for index, name in enumerate(self.weights)]
        removed = [self._to_remove(name, rate) for name in self.weights]
        kept = [
            mask & ~select_top(-self._scores(self.prune, view), mask, count) if count else mask
            for view, mask, count in zip(views, self.masks.values(), removed)
        ]
        grown = self._to_grow(views, kept, removed)
        for name, view, left, gone, count in zip(self.weights, views, kept, removed, grown):
            if gone or count:
                candidates = self._candidates(name, left)
                grown_mask = left | select_top(self._scores(growth, view), candidates, count)
                self.set_mask(name, grown_mask, self.counts[name] + count - gone)

    def _replace_structured(self, index: int, name: str, rate: float, growth: Criterion) -> None:
        """Prune and grow one layer within its structure."""
        mask, active = self.masks[name], self.counts[name]
        if active == mask.numel():
            return
        view = self._view(index, name)
        layer = Topology(
            mask=mask,
            prune=self._scores(self.prune, view),
            grow=self._scores(growth, view),
            growable=~self.frozen[name] if self.candidates == "free" else None,
            active=active,
            budget=self.budget[name],
            rate=rate,
        )
        self.set_mask(name, *self.structures.get(name, UNSTRUCTURED).replace(layer))

    def _scores(self, criterion: Criterion, view: LayerView) -> Tensor:
        scores = criterion(view)
        if criterion not in self._proven:  # later nobody waits for the device
            refuse_nan(criterion, scores, view)
        return scores

    def _to_remove(self, name: str, rate: float) -> int:
        asked = ceil(rate * self.counts[name])
        # Competing layers may lose weights that they cannot grow again; a layer alone may not.
        return min(asked, self._room(name)) if self.redistribute == "none" else asked

    def _to_grow(self, views: list[LayerView], kept: list[Tensor], removed: list[int]) -> list[int]:
        if self.redistribute == "none":
            return removed
        candidates = [self._candidates(name, left) for name, left in zip(self.masks, kept)]
        room = torch.stack([open_.count_nonzero() for open_ in candidates]).tolist()
        return allocate(sum(removed), shares(views, kept, self.redistribute), room)

    def _candidates(self, name: str, kept: Tensor) -> Tensor:
        return ~kept & ~self.frozen[name] if self.candidates == "free" else ~kept

    def _view(self, index: int, name: str) -> LayerView:
        return LayerView(
            weight=self._parameters[index],
            explored=self.explored[name],
            gradient=self._gradients[index] if self._gradients else None,
            momentum=self._moments.score(index, self.steps) if self._moments else None,
            generator=self.generator,
        )

    def _room(self, name: str) -> int:
        """How many weights of a layer can be grown without growing back what was pruned."""
        if self.candidates == "free":
            return int((~self.masks[name] & ~self.frozen[name]).count_nonzero())
        return self.masks[name].numel() - self.counts[name]
