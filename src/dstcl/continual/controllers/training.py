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
from dstcl.sparse.selection import select_top
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

    The number of active weights is that of ``density`` whatever is decided, unless the controller
    `Controller.changes_density`; it is exact after every update.

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
        self._rate = 0.0
        self._settled: frozenset[str] = frozenset()
        self._quota: dict[str, int] = {}
        self._resizing = False
        # Active weights of each layer, added up over the steps before one.
        self._work, self._worked = dict.fromkeys(self.weights, 0), 0
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
        decided, and where all layers are settled there is none."""
        schedule = self.schedule
        if len(self._settled) == len(self.weights):
            return False
        return (step - self._since) % schedule.update_every == 0 and step <= schedule.last_step

    def before_masking(self, gradients: list[Tensor]) -> None:
        """See `SparseTraining.before_masking`."""
        super().before_masking(gradients)
        self._looked += self._gradients is not None

    def update_topology(self) -> None:
        """Prune and grow every layer, then ask the controller about the updates that follow."""
        self._idle |= self._settled
        self._work, self._worked = self._work_so_far(), self.steps
        if not self._watched:
            super().update_topology()
            return
        before = [mask.clone() for mask in self.masks.values()]
        gradients, self._rate = self._gradients, self.prune_rate()
        self._gradient = self._norms(gradients)
        super().update_topology()
        self._mask_change = self._shares_changed(before)
        if self._survival is not None:
            self._survived = self._survival.judge(self.updates - 1, self.masks)
        seen = self._seen(self.counts)
        decision = self.controller.after_update(seen)
        # By the growth of this update, whose gradients were recorded.
        self._resize(decision, gradients)
        self._obey(decision)
        self.controller.note(decision, seen)

    def grew(self, name: str, criterion: Criterion, picked: Tensor, count: int) -> None:
        """See `DynamicSparseTraining.grew`."""
        if self._survival is not None and not self._resizing:
            self._survival.grew(self.updates, name, criterion.name, picked, count)

    def settled(self) -> bool:
        """Whether the density of the task is final."""
        return (
            not self.controller.changes_density
            or self.steps >= self.schedule.last_step
            or len(self._settled) == len(self.weights)
        )

    def mean_counts(self) -> dict[str, float]:
        """Active weights of each layer, mean over the steps so far."""
        return {name: work / max(1, self.steps) for name, work in self._work_so_far().items()}

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
            "rate": self._rate,
            "settled": sorted(self._settled),
            "work": self._work,
            "worked": self._worked,
            "mask_change": self._mask_change,
            "gradient": self._gradient,
            "validation": self._validation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this.

        Raises:
            ValueError: see `SparseTraining.load_state_dict`; or the state is of a controller that
                does not look at survival, and this one does, or the other way round.
        """
        if (state["survival"] is None) != (self._survival is None):
            raise ValueError("the state is of a controller with another survival_after")
        super().load_state_dict(state)
        name, mixed, shares, shares_of = state["growth"]
        self._grow_by(Decision(growth=name, mixed=mixed, shares=shares, shares_of=shares_of))
        if self._survival is not None:
            self._survival.load_state_dict(state["survival"])
        given = {name: state[name] for name in ("prune_rate", "floor", "update_every")}
        self.schedule = replace(self.schedule, **given)
        self._since, self._looked, self._rate = state["since"], state["looked"], state["rate"]
        self._settled = frozenset(state["settled"])
        self._work, self._worked = dict(state["work"]), state["worked"]
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
            prune_rate=self._rate,
            update_every=self.schedule.update_every,
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
        if others := set(decision.settled) - set(self.weights):
            raise self._refused("settled", f"no layer {min(others)!r}")
        self._settled |= set(decision.settled)

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
        self._refuse_quota(decision)
        if not decision.active:
            return
        if self.structures:
            raise self._refused("active", "structures decide the counts of their layers")
        active, new, sizes = decision.active, decision.new, self._seen(self.budget).sizes
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

    def _work_so_far(self) -> dict[str, int]:
        steps = self.steps - self._worked
        return {name: work + steps * self.counts[name] for name, work in self._work.items()}

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
