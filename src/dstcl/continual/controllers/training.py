"""Dynamic sparse training that obeys a controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.continual.controllers.base import Controller, ControllerError, Decision, Seen
from dstcl.continual.controllers.survival import Numbers, Shares, Survival
from dstcl.sparse import DynamicSparseTraining, growth_plan
from dstcl.sparse.criteria import Criterion, Growth, GrowthPlan
from dstcl.sparse.masks import Masks
from dstcl.sparse.mixed_growth import MIXED_IN_STRUCTURE, is_mixed, shared_growth
from dstcl.sparse.water_filling import draw_filled


class ControlledTraining(DynamicSparseTraining):
    """`DynamicSparseTraining` of one task, on which a controller decides anew.

    It is asked before the task begins, and after every update of the mask for those that follow.
    The same controller is passed on from task to task, and remembers what it decided.

        controller = Saturation(threshold=0.5)
        for task, batches in enumerate(tasks):
            dst = ControlledTraining(model, optimizer, controller=controller, task=task,
                                     tasks=len(tasks), frozen=used, density=0.1, grow="random",
                                     update_every=100, total_steps=5000)

    The number of active weights is that of ``density`` whatever is decided, and exact after every
    update.

    Args:
        controller: decides.
        task: from 0.
        tasks: that will be trained, in all.
        grow: what is used where the controller does not say otherwise.
        **dynamic: everything else that `DynamicSparseTraining` takes.

    Raises:
        ControllerError: it decides what cannot be done; also after an update.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        controller: Controller,
        task: int = 0,
        tasks: int = 1,
        grow: Growth | None = None,
        switch_at: float = 0.5,
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
        after = controller.survival_after if self._watched else 0
        self._survival = Survival(self.weights, after) if after else None
        self._survived: tuple[Shares, Numbers] = ({}, {})
        self._since = 0
        self._looked = 0
        self._mask_change: dict[str, float] = {}
        self._gradient: dict[str, float] = {}
        self._validation: list[float] = []
        free = torch.stack([(~frozen).count_nonzero() for frozen in self.frozen.values()])
        self._free = dict(zip(self.weights, free.tolist(), strict=True))
        self._new: dict[str, int] = {}
        opening = controller.opening(self._seen(self.budget))
        self._obey(opening)
        self._fill(opening)
        self._moments = self._new_moments()

    def first_masks(self) -> Masks:
        """As `SparseTraining.first_masks`, with as many new weights as the controller says."""
        if not self._new:
            return super().first_masks()
        return {
            name: draw_filled(~frozen, self.budget[name], self._new[name], self.generator)
            for name, frozen in self.frozen.items()
        }

    def changes_masks(self, step: int) -> bool:
        """Whether an update of the mask follows the step; intervals count from when they were
        decided."""
        schedule = self.schedule
        return (step - self._since) % schedule.update_every == 0 and step <= schedule.last_step

    def before_masking(self, gradients: list[Tensor]) -> None:
        """See `SparseTraining.before_masking`."""
        super().before_masking(gradients)
        self._looked += self._gradients is not None

    def update_topology(self) -> None:
        """Prune and grow every layer, then ask the controller about the updates that follow."""
        if not self._watched:
            super().update_topology()
            return
        before = [mask.clone() for mask in self.masks.values()]
        self._gradient = self._norms(self._gradients)
        super().update_topology()
        self._mask_change = self._shares_changed(before)
        if self._survival is not None:
            self._survived = self._survival.judge(self.updates - 1, self.masks)
        seen = self._seen(self.counts)
        decision = self.controller.after_update(seen)
        if decision.active or decision.new:
            raise self._refused("active", "decided before a task, not within one")
        self._obey(decision)
        self.controller.note(decision, seen)

    def grew(self, name: str, criterion: Criterion, picked: Tensor, count: int) -> None:
        """See `DynamicSparseTraining.grew`."""
        if self._survival is not None:
            self._survival.grew(self.updates, name, criterion.name, picked, count)

    def saw_epoch(self, validation: float | None) -> None:
        """Take note of the accuracy on held-out images after an epoch, for the controller."""
        if validation is not None:
            self._validation.append(validation)

    def dense_gradient_share(self) -> float:
        """Share of the steps so far that needed gradients of inactive weights."""
        if self._moments is not None:
            return 1.0
        return self._looked / max(1, self.steps)

    def state_dict(self) -> dict[str, Any]:
        """As `DynamicSparseTraining.state_dict`, with what was decided."""
        growing = self._growth
        return super().state_dict() | {
            "growth": [growing.growth, growing.mixed, growing.shares, growing.shares_of],
            "survival": self._survival.state_dict() if self._survival else None,
            "prune_rate": self.schedule.prune_rate,
            "floor": self.schedule.floor,
            "update_every": self.schedule.update_every,
            "since": self._since,
            "looked": self._looked,
            "mask_change": self._mask_change,
            "gradient": self._gradient,
            "validation": self._validation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this."""
        super().load_state_dict(state)
        name, mixed, shares, shares_of = state["growth"]
        self._grow_by(Decision(growth=name, mixed=mixed, shares=shares, shares_of=shares_of))
        if self._survival is not None:
            self._survival.load_state_dict(state["survival"])
        given = {name: state[name] for name in ("prune_rate", "floor", "update_every")}
        self.schedule = replace(self.schedule, **given)
        self._since, self._looked = state["since"], state["looked"]
        self._mask_change, self._gradient = dict(state["mask_change"]), dict(state["gradient"])
        self._validation = list(state["validation"])

    def _needs(self, what: str) -> bool:
        # A running gradient cannot be had later, so it is kept for all that may be chosen.
        later = self._watched and what == "momentum"
        return super()._needs(what) or (
            later and any(plan.needs_momentum for plan in self._choices.values())
        )

    def _seen(self, active: Mapping[str, int]) -> Seen:
        return Seen(
            task=self.task,
            tasks=self.tasks,
            step=self.steps,
            total_steps=self.schedule.total_steps,
            updates=self.updates,
            sizes={name: weight.numel() for name, weight in self.weights.items()},
            free=dict(self._free),
            active=dict(active),
            growth=self._growth.growth or self._own_growth,
            mask_change=dict(self._mask_change),
            gradient=dict(self._gradient),
            validation=tuple(self._validation),
            survival=self._survived[0],
            grown=self._survived[1],
        )

    def _obey(self, decision: Decision) -> None:
        """Growth and schedule from now on."""
        growing = self._growth
        if decision.growth or decision.mixed or decision.shares:
            self._grow_by(replace(decision, growth=decision.growth or growing.growth))
        elif own := decision.shares_of:  # other layers stay as they are
            self._grow_by(replace(growing, shares_of=growing.shares_of | own))
        if (rate := decision.prune_rate) is not None:
            if not 0 <= rate <= 1:
                raise self._refused("prune_rate", f"{rate}; should be from 0 to 1")
            floor = min(self.schedule.floor, rate)
            self.schedule = replace(self.schedule, prune_rate=rate, floor=floor)
        if (every := decision.update_every) is not None:
            if every < 1:
                raise self._refused("update_every", f"{every}; should be at least 1")
            self.schedule = replace(self.schedule, update_every=every)
            self._since = self.steps

    def _grow_by(self, decision: Decision) -> None:
        """Whose growth it is from now on; the decision names one."""
        name, shares = decision.growth or self._own_growth, list(decision.shares.items())
        if decision.mixed is not None:
            if shares:
                raise self._refused("mixed", "decided beside shares; one of them is possible")
            other, share = decision.mixed
            shares = [(other, share), (name, 1 - share)]
        self.grow = self._mix(shares) if shares else self._choice(name)
        if other_layers := set(decision.shares_of) - set(self.weights):
            raise self._refused("shares_of", f"no layer {min(other_layers)!r}")
        own = {n: self._mix(list(given.items())) for n, given in decision.shares_of.items()}
        self._grow_of = self._group_growths | own
        self._growth = decision

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

    def _fill(self, decision: Decision) -> None:
        """Weights of each layer in the first mask."""
        if not decision.active:
            return
        if self.structures:
            raise self._refused("active", "structures decide the counts of their layers")
        active, new, sizes = decision.active, decision.new, self._seen(self.budget).sizes
        if set(active) != set(self.budget) or sum(active.values()) != sum(self.budget.values()):
            wanted, layers = sum(self.budget.values()), len(self.budget)
            raise self._refused("active", f"counts must be of {layers} layers and add to {wanted}")
        for name, count in active.items():
            free, used = self._free[name], sizes[name] - self._free[name]
            own = new.get(name, count)
            if not 1 <= count <= sizes[name] or not max(0, count - used) <= own <= min(free, count):
                raise self._refused(
                    "active", f"{count} with {own} new in {name} of {free} free and {used} used"
                )
        self.budget, self._new = dict(active), dict(new)
        self.densities = {name: count / sizes[name] for name, count in active.items()}

    def _refused(self, what: str, why: str) -> ControllerError:
        words = self.controller.words()
        return ControllerError(f"controller {words}: task {self.task + 1}: {what}: {why}")

    def _shares_changed(self, before: Sequence[Tensor]) -> dict[str, float]:
        """Of each layer, active weights that were not active before, over active ones."""
        masks = self.masks.values()
        came = torch.stack([(mask & ~old).count_nonzero() for mask, old in zip(masks, before)])
        counts = self.counts
        return {name: n / max(1, counts[name]) for name, n in zip(counts, came.tolist())}

    def _norms(self, gradients: Sequence[Tensor] | None) -> dict[str, float]:
        if gradients is None:
            return {}
        frozen = self.frozen.values()
        norms = torch.stack([(g * ~held).norm() for g, held in zip(gradients, frozen)])
        return dict(zip(self.weights, norms.tolist()))
