"""Dynamic sparse training that obeys a controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dstcl.continual.controllers.base import Controller, Decision, Seen
from dstcl.continual.controllers.counts import DecidedCounts
from dstcl.continual.controllers.revival import drawn_anew, fresh_values
from dstcl.continual.controllers.survival import Numbers, Shares, Survival
from dstcl.continual.plasticity import dead_channels, open_channels
from dstcl.sparse.criteria import Criterion, Growth
from dstcl.sparse.structure.parse import rows_are_outputs

Channels = dict[str, tuple[int, ...]]
"""Rows of weights, by layer."""
KEPT = (
    "since", "looked", "rate", "settled", "work", "worked", "mask_change", "gradient", "validation",
)  # fmt: skip
"""What a state has of `ControlledTraining` alone, besides growth, schedule and survival."""


class ControlledTraining(DecidedCounts):
    """`DynamicSparseTraining` of one task, on which a controller decides anew.

    It is asked before the task begins, after its first batches if it wants to be, and after every
    update of the mask for those that follow.
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

    # It is the controller that is told what the density asks for.
    density_beside_masks: ClassVar[bool] = True
    keeps_stored: ClassVar[bool] = True

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
        super().__init__(
            model, optimizer, controller=controller, task=task, tasks=tasks, grow=grow,
            switch_at=switch_at, **dynamic,
        )  # fmt: skip
        after = controller.survival_after if self._watched else 0
        self._survival = Survival(self.weights, after) if after else None
        self._survived: tuple[Shares, Numbers] = ({}, {})
        self._since = 0
        self._looked = 0
        self._rate = 0.0
        self._settled: frozenset[str] = frozenset()
        # Active weights of each layer, added up over the steps before one.
        self._work, self._worked = dict.fromkeys(self.weights, 0), 0
        self._mask_change: dict[str, float] = {}
        self._gradient: dict[str, float] = {}
        self._validation: list[float] = []
        self._alive: tuple[Channels, Channels] = ({}, {})
        self._by_output = {name for name in self.weights if rows_are_outputs(model, name)}
        opening = controller.opening(self._seen(self.budget))
        self._refuse_anew(opening)
        self._obey(opening)
        self._fill(opening)
        self._moments = self._new_moments()

    def changes_masks(self, step: int) -> bool:
        """Whether an update of the mask follows the step, or the controller is asked about one of
        the first batches."""
        return step <= self.controller.first_batches or self._due(step)

    def _due(self, step: int) -> bool:
        """Whether an update follows the step; intervals count from when they were decided, and
        where all layers are settled there is none."""
        schedule = self.schedule
        if len(self._settled) == len(self.weights):
            return False
        return (step - self._since) % schedule.update_every == 0 and step <= schedule.last_step

    def before_masking(self, gradients: list[Tensor]) -> None:
        """See `SparseTraining.before_masking`."""
        super().before_masking(gradients)
        if self.steps <= self.controller.first_batches:
            self._alive = self._channels(gradients)

    def update_topology(self) -> None:
        """Prune and grow every layer, then ask the controller about the updates that follow; after
        one of the first batches, ask it about channels before."""
        first = self.steps <= self.controller.first_batches
        self._looked += first or self._gradients is not None
        if first:
            self._after_batch()
        if not self._due(self.steps):
            self._gradients = None
            return
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
        self._refuse_anew(decision)
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
            "survived": self._survived,
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
            "validation": list(self._validation),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this.

        Raises:
            ValueError: see `SparseTraining.load_state_dict`; or the state is of a controller that
                looks at survival in another way, or chooses from other criteria. Nothing is changed
                then.
        """
        # What is missing or refused must be found before anything is changed.
        if lacks := [name for name in ("growth", "survival", *KEPT) if name not in state]:
            raise ValueError(f"the state of a training with a controller has {lacks[0]!r}, too")
        survival, mine = state["survival"], self._survival
        looks = None if survival is None else survival.get("after", mine.after if mine else 0)
        if looks != (mine.after if mine else None):
            raise ValueError("the state is of a controller with another survival_after")
        name, mixed, shares, shares_of = state["growth"]
        growth = Decision(growth=name, mixed=mixed, shares=shares, shares_of=shares_of)
        self._plans(growth)
        given = {name: state[name] for name in ("prune_rate", "floor", "update_every")}
        schedule = replace(self.schedule, **given)
        kept = {name: state[name] for name in KEPT}
        super().load_state_dict(state)
        self._grow_by(growth)
        self.schedule = schedule
        if mine is not None:
            mine.load_state_dict(survival)
        # States of earlier code do not have what survived.
        shares_alive, numbers = state.get("survived", ({}, {}))
        self._survived = (dict(shares_alive), dict(numbers))
        self._since, self._looked, self._rate = kept["since"], kept["looked"], kept["rate"]
        self._settled = frozenset(kept["settled"])
        self._work, self._worked = dict(kept["work"]), kept["worked"]
        self._mask_change, self._gradient = dict(kept["mask_change"]), dict(kept["gradient"])
        self._validation = list(kept["validation"])
        self._alive = ({}, {})

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
            channels=self._alive[0],
            dead=self._alive[1],
        )

    def _channels(self, gradients: Sequence[Tensor]) -> tuple[Channels, Channels]:
        """Of layers without a structure and with outputs as rows, channels with free weights, and
        dead ones; one wait for the device."""
        found = [
            (name, open_channels(frozen), dead_channels(gradient, frozen))
            for gradient, (name, frozen) in zip(gradients, self.frozen.items(), strict=True)
            if name not in self.structures and name not in self._idle and name in self._by_output
        ]
        if not found:
            return {}, {}
        rows = torch.cat([torch.stack([known, dead]) for _, known, dead in found], 1).tolist()
        channels: Channels = {}
        dead: Channels = {}
        begin = 0
        for name, flags, _ in found:
            for into, row in zip((channels, dead), rows):
                own = row[begin : begin + len(flags)]
                into[name] = tuple(index for index, true in enumerate(own) if true)
            begin += len(flags)
        return channels, dead

    def _after_batch(self) -> None:
        """Ask about one of the first batches, and draw weights anew where that is decided."""
        seen = self._seen(self.counts)
        self._alive = ({}, {})
        decision = self.controller.after_batch(seen)
        # The rest would interfere with an update that is due after the same batch.
        drawing = Decision(
            anew=decision.anew,
            inputs=decision.inputs,
            evidence=decision.evidence,
            evidence_of=decision.evidence_of,
        )
        if decision != drawing:
            raise self._refused("after_batch", "only anew and inputs are decided after a batch")
        if decision.inputs < 1:
            raise self._refused("inputs", f"{decision.inputs}; should be at least 1")
        for name, channels in decision.anew.items():
            if others := set(channels) - set(seen.channels.get(name, ())):
                raise self._refused("anew", f"no channel {min(others)} with free weights in {name}")
            self._draw_anew(name, channels, decision.inputs)
        self.controller.note(decision, seen)

    def _draw_anew(self, name: str, channels: Sequence[int], inputs: int) -> None:
        weight, frozen, count = self.weights[name], self.frozen[name], self.counts[name]
        stay, drawn = drawn_anew(self.masks[name], frozen, channels, inputs, weight, self.generator)
        number = int(drawn.count_nonzero())
        values = fresh_values(self.stored[name], frozen, number, self.generator)
        self.set_mask(name, stay, count - number)  # the optimiser forgets those that are drawn
        self.set_mask(name, stay | drawn, count)
        weight.masked_scatter_(drawn, values.to(weight.dtype))
        if self._survival is not None:
            self._survival.forget(name, ~stay)

    def _refuse_anew(self, decision: Decision) -> None:
        if decision.anew:
            raise self._refused("anew", "decided after one of the first batches of a task, not now")

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

    def _work_so_far(self) -> dict[str, int]:
        steps = self.steps - self._worked
        return {name: work + steps * self.counts[name] for name, work in self._work.items()}

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
