"""How many weights a layer holds: what a controller decides of it, checked and carried out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dstcl.continual.controllers.base import Decision
from dstcl.continual.controllers.growth import ChosenGrowth
from dstcl.sparse.masks import Masks
from dstcl.sparse.selection import select_top
from dstcl.sparse.water_filling import draw_filled


class DecidedCounts(ChosenGrowth):
    """Dynamic sparse training whose layers have as many weights as a controller says.

    Args:
        **given: see `ChosenGrowth`.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, **given: Any) -> None:
        super().__init__(model, optimizer, **given)
        self._quota: dict[str, int] = {}
        self._resizing = False
        free = torch.stack([(~frozen).count_nonzero() for frozen in self.frozen.values()])
        self._free = dict(zip(self.weights, free.tolist(), strict=True))
        self._new: dict[str, int] = {}

    def first_masks(self) -> Masks:
        """As `SparseTraining.first_masks`, with as many new weights as the controller says."""
        if not self._new:
            return super().first_masks()
        return {
            name: draw_filled(~frozen, self.budget[name], self._new[name], self.generator)
            for name, frozen in self.frozen.items()
        }

    def _fill(self, decision: Decision) -> None:
        """Weights of each layer in the first mask."""
        self._refuse_quota(decision)
        if not decision.active:
            return
        if self._given_masks is not None:
            raise self._refused("active", "masks are given, which decide the counts of all layers")
        if self.structures:
            raise self._refused("active", "structures decide the counts of their layers")
        active, new = decision.active, decision.new
        sizes = {name: weight.numel() for name, weight in self.weights.items()}
        wanted, layers = sum(self.budget.values()), len(self.budget)
        free_number = self.controller.changes_density
        if set(active) != set(self.budget) or not (free_number or sum(active.values()) == wanted):
            must = f"counts must be of {layers} layers"
            raise self._refused("active", must if free_number else f"{must} and add to {wanted}")
        for name, count in active.items():
            free, used = self._free[name], sizes[name] - self._free[name]
            own = new.get(name, count)
            if not 1 <= count <= sizes[name] or not max(0, count - used) <= own <= min(free, count):
                raise self._refused(
                    "active", f"{count} with {own} new in {name} of {free} free and {used} used"
                )
        self.budget, self._new, self._quota = dict(active), dict(new), dict(decision.quota)
        self.densities = {name: count / sizes[name] for name, count in active.items()}

    def _refuse_quota(self, decision: Decision) -> None:
        quota, layers = decision.quota, set(self.weights)
        if not quota:
            return
        if not set(quota) == set(decision.new) == set(decision.active) == layers:
            raise self._refused("quota", "needs active, new and quota of every layer")
        if self.redistribute != "none" or self.candidates == "free":
            raise self._refused("quota", "needs redistribute: none, and used weights as candidates")
        for name, most in quota.items():
            if decision.new[name] > most:
                raise self._refused(
                    "quota", f"{most} in {name}, which has {decision.new[name]} new weights"
                )

    def _picked(self, name: str, scores: Tensor, candidates: Tensor, count: int) -> Tensor:
        """The highest scores, of free weights no more than the quota still has room for."""
        if self._quota:
            free = ~self.frozen[name]
            # What is no candidate is in the mask already, or was picked a moment ago.
            taken, growable = free & ~candidates, free & candidates
            held = torch.stack([taken.count_nonzero(), growable.count_nonzero()]).tolist()
            most = min(self._quota[name] - held[0], held[1], count)
            candidates = candidates & ~free | select_top(scores, growable, most)
        return super()._picked(name, scores, candidates, count)

    def _resize(self, decision: Decision, gradients: list[Tensor] | None) -> None:
        """Grow or prune layers at once until they have as many weights as is decided."""
        if not (decision.active or decision.new or decision.quota):
            return
        if not self.controller.changes_density or decision.new or decision.quota:
            raise self._refused("active", "decided before a task, not within one")
        if self.structures:
            raise self._refused("active", "structures decide the counts of their layers")
        self._gradients, self._resizing = gradients, True
        fraction = self.steps / self.schedule.total_steps
        for name, count in decision.active.items():
            self._refuse_count(name, count)
            mask, more = self.masks[name], count - self.counts[name]
            if more > 0:
                growth = self._grow_of.get(name, self.grow).at(fraction)
                candidates = self._candidates(name, mask)
                changed = mask | self._chosen(name, growth, self._view(name), candidates, more)
            else:
                scores = self._scores(self._prune_of.get(name, self.prune), self._view(name))
                changed = select_top(scores, mask, count)
            self.set_mask(name, changed, count)
        self._gradients, self._resizing = None, False

    def _refuse_count(self, name: str, count: int) -> None:
        if name not in self.weights:
            raise self._refused("active", f"no layer {name!r}")
        size, free = self.weights[name].numel(), self._free[name]
        most = min(self.counts[name] + self._room(name), size - free + self._quota.get(name, free))
        if not 1 <= count <= most:
            raise self._refused("active", f"{count} in {name}, which may have 1 to {most}")
