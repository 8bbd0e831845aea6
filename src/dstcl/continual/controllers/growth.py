"""Whose growth it is: the criteria that a controller chooses from, alone or mixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dstcl.continual.controllers.base import Controller, ControllerError, Decision
from dstcl.sparse import DynamicSparseTraining, growth_plan
from dstcl.sparse.criteria import Growth, GrowthPlan
from dstcl.sparse.mixed_growth import MIXED_IN_STRUCTURE, is_mixed, shared_growth


class ChosenGrowth(DynamicSparseTraining):
    """`DynamicSparseTraining` of one task, whose growth a controller can choose anew.

    Args:
        controller, task, tasks, grow: see `ControlledTraining`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        controller: Controller,
        task: int,
        tasks: int,
        grow: Growth | None,
        switch_at: float,
        **dynamic: Any,
    ) -> None:
        if not 0 <= task < tasks:
            raise ValueError(f"task {task} of {tasks}; tasks count from 0")
        self.controller, self.task, self.tasks = controller, task, tasks
        self._watched = type(controller).after_update is not Controller.after_update
        self._choices = {name: growth_plan(name) for name in controller.growths}
        super().__init__(model, optimizer, grow=grow, switch_at=switch_at, **dynamic)
        self._own_growth = grow if isinstance(grow, str) else self.grow.first.name
        self._choices[self._own_growth] = self.grow
        self._growth = Decision(growth=self._own_growth)
        self._group_growths = self._grow_of

    def _needs(self, what: str) -> bool:
        # A running gradient cannot be had later, so it is kept for all that may be chosen.
        later = self._watched and what == "momentum"
        return super()._needs(what) or (
            later and any(plan.needs_momentum for plan in self._choices.values())
        )

    def _grow_by(self, decision: Decision) -> None:
        """Whose growth it is from now on; the decision names one."""
        self.grow, self._grow_of = self._plans(decision)
        self._growth = decision

    def _plans(self, decision: Decision) -> tuple[GrowthPlan, dict[str, GrowthPlan]]:
        """Growth of all layers, and of single ones; refuses what is not to be chosen."""
        name, shares = decision.growth or self._own_growth, list(decision.shares.items())
        if decision.mixed is not None:
            if shares:
                raise self._refused("mixed", "decided beside shares; one of them is possible")
            other, share = decision.mixed
            shares = [(other, share), (name, 1 - share)]
        grow = self._mix(shares) if shares else self._choice(name)
        if other_layers := set(decision.shares_of) - set(self.weights):
            raise self._refused("shares_of", f"no layer {min(other_layers)!r}")
        own = {n: self._mix(list(given.items())) for n, given in decision.shares_of.items()}
        return grow, self._group_growths | own

    def _mix(self, shares: Sequence[tuple[str, float]]) -> GrowthPlan:
        chosen = [(self._choice(name), share) for name, share in shares]
        try:
            criterion = shared_growth(chosen)
        except ValueError as error:
            raise self._refused("mixed", str(error)) from None
        plan = GrowthPlan(criterion, criterion)
        if self.structures and is_mixed(plan):
            raise self._refused("mixed", MIXED_IN_STRUCTURE)
        return plan

    def _choice(self, name: str) -> GrowthPlan:
        if name not in self._choices:
            raise self._refused("growth", f"{name!r}; it may choose {', '.join(self._choices)}")
        return self._choices[name]

    def _refused(self, what: str, why: str) -> ControllerError:
        words = self.controller.words()
        return ControllerError(f"controller {words}: task {self.task + 1}: {what}: {why}")
