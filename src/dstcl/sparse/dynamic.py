"""Dynamic sparse training: prune the least useful weights, grow as many new ones, repeat."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dstcl.sparse import foreach
from dstcl.sparse.checks import refuse_nan
from dstcl.sparse.criteria import (
    Criterion,
    Growth,
    GrowthPlan,
    LayerView,
    Prune,
    growth_plan,
    prune_criterion,
)
from dstcl.sparse.densities import Init
from dstcl.sparse.groups import Groups
from dstcl.sparse.idle import IdleLayers
from dstcl.sparse.layers import Names
from dstcl.sparse.mixed_growth import MIXED_IN_STRUCTURE, is_mixed, picks
from dstcl.sparse.moments import Moments
from dstcl.sparse.optimizers import Optimizers, group_of
from dstcl.sparse.presets import chosen_settings
from dstcl.sparse.redistribution import REDISTRIBUTE, allocate, shares
from dstcl.sparse.schedule import UpdateSchedule, refuse_no_fraction, rounded_up
from dstcl.sparse.selection import select_top
from dstcl.sparse.structure import Given, Topology
from dstcl.sparse.structure.parse import refuse_settings
from dstcl.sparse.training import SparseTraining

CANDIDATES = ("all", "free", "frozen_without_gradient")


class DynamicSparseTraining(SparseTraining):
    """Sparse training with a mask that changes during training.

    Every ``update_every`` steps, each layer prunes a fraction of its active weights and grows
    exactly as many of its inactive ones. Weights that were just pruned are candidates too; one that
    grows back keeps its value, as in RigL. A new free weight starts at zero. A new frozen weight
    takes its stored value, that is, the weight is shared with an earlier task.

        dst = DynamicSparseTraining(model, optimizer, density=0.1, init="erk", grow="gradient",
                                    update_every=100, total_steps=5000, generator=g)
        for x, y in batches:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            dst.step()                      # replaces optimizer.step()

    Arguments that are None have the preset's value or, without a preset, the value in brackets.

    Args:
        total_steps: number of optimiser steps of the whole training.
        preset: "rigl", "set", "snfs" or "itop": uses the values of these papers for the arguments
            below and for ``init`` (`dstcl.sparse.presets`).
        update_every: steps between topology updates [100].
        prune: criterion for pruning: a name in `PRUNE`, a `Criterion`, a function from a
            `LayerView` to scores, or the ``module:attribute`` of either ["magnitude"].
        grow: criterion for growth: the same with names in `GROW`, a switch between two such as
            ``"random-then-gradient"``, or a `GrowthPlan` ["gradient"].
        switch_at: fraction of the steps after which a switching growth changes criterion.
        prune_rate, floor, prune_schedule, stop_at: see `UpdateSchedule` [0.5, 0.005 but at most
            the prune rate, "cosine", 0.75].
        redistribute: "none": every layer grows as many weights as it pruned; "momentum", "gradient"
            or "nonzeros": layers compete for the pruned weights, and only the total is exact
            (`dstcl.sparse.redistribution`) ["none"].
        candidates: inactive weights that may be grown: "all", or only "free" ones.
            "frozen_without_gradient": all, but gradient and momentum of frozen ones count as zero.
            Criteria that use these then avoid frozen weights; random growth does not.
        groups: as in `SparseTraining`; a group may also set ``prune`` and ``grow``.

    All other arguments are those of `SparseTraining`.

    Raises:
        ValueError: an unknown name, or a value out of range; in `step`, a criterion that does not
            return scores (`check_criterion` detects this earlier), or a gradient that is not
            finite.
    """

    _bias_correction = True
    _group_settings: ClassVar[tuple[str, ...]] = ("density", "init", "prune", "grow")

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizers,
        *,
        total_steps: int,
        density: float | None = None,
        preset: str | None = None,
        init: str | Init | None = None,
        update_every: int | None = None,
        prune: Prune | None = None,
        grow: Growth | None = None,
        switch_at: float = 0.5,
        prune_rate: float | None = None,
        floor: float | None = None,
        prune_schedule: str | None = None,
        stop_at: float | None = None,
        redistribute: str | None = None,
        candidates: str = "all",
        frozen: Mapping[str, Tensor] | None = None,
        exclude: Names = (),
        include: Names = (),
        overrides: Mapping[str, float] | None = None,
        groups: Groups | None = None,
        masks: Mapping[str, Tensor] | Literal["nonzero"] | None = None,
        regrown: str = "stored",
        structure: Given = "none",
        generator: torch.Generator | None = None,
        sync: bool = True,
    ) -> None:
        given = {
            "init": init, "update_every": update_every, "prune": prune, "grow": grow,
            "prune_rate": prune_rate, "floor": floor, "prune_schedule": prune_schedule,
            "stop_at": stop_at, "redistribute": redistribute,
        }  # fmt: skip
        chosen = chosen_settings(preset, given)
        if candidates not in CANDIDATES:
            raise ValueError(f"unknown candidates {candidates!r}; known: {', '.join(CANDIDATES)}")
        self.redistribute = chosen["redistribute"]
        if self.redistribute not in ("none", *REDISTRIBUTE):
            known = ", ".join(("none", *REDISTRIBUTE))
            raise ValueError(f"unknown redistribute {self.redistribute!r}; known: {known}")
        refuse_no_fraction("switch_at", switch_at)
        super().__init__(
            model, optimizer, density=density, init=chosen["init"], frozen=frozen, exclude=exclude,
            include=include, overrides=overrides, groups=groups, masks=masks, regrown=regrown,
            generator=generator, sync=sync,
            structure=structure,
        )  # fmt: skip
        self.prune = prune_criterion(chosen["prune"])
        self.grow = growth_plan(chosen["grow"], switch_at)
        self._prune_of = {
            name: prune_criterion(value) for name, value in self._of_groups("prune").items()
        }
        self._grow_of = {
            name: growth_plan(value, switch_at) for name, value in self._of_groups("grow").items()
        }
        refuse_settings(self.structures, candidates, self.redistribute)
        if any(is_mixed(self._grow_of.get(name, self.grow)) for name in self.structures):
            raise ValueError(f"grow: {MIXED_IN_STRUCTURE}")
        self.candidates = candidates
        self.schedule = UpdateSchedule(
            total_steps,
            chosen["update_every"],
            chosen["prune_rate"],
            chosen["floor"],
            chosen["prune_schedule"],
            chosen["stop_at"],
            chosen["at_the_end"],
        )
        self.updates = 0
        self._index = {name: index for index, name in enumerate(self.weights)}
        self._proven: list[Criterion] = []
        self._gradients: list[Tensor] | None = None
        self._unseen: list[Tensor] | None = None
        self._idle_layers = IdleLayers()
        self._moments = self._new_moments()

    def begin(self) -> None:
        """See `SparseTraining.begin`."""
        super().begin()
        own = type(self).changes_masks is not DynamicSparseTraining.changes_masks
        schedule = self.schedule
        if schedule.stop_at and schedule.update_every > schedule.last_step and not own:
            warnings.warn(
                f"update_every: {schedule.update_every}, but masks may change up to step "
                f"{schedule.last_step} of {schedule.total_steps} only, so they never will",
                stacklevel=3,  # of whoever makes the training
            )

    def _new_moments(self) -> Moments | None:
        """Running gradients, if a criterion in use needs them."""
        if not self._needs("momentum"):
            return None
        settings = group_of(self.optimizers, self._parameters[0])
        return Moments(self._parameters, settings, self._bias_correction)

    def _of_groups(self, setting: str) -> dict[str, Any]:
        """By weight, where its group sets it."""
        return {
            name: self.groups[pattern][setting]
            for pattern, names in self.members.items()
            if setting in self.groups[pattern]
            for name in names
        }

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
        """Restore what `state_dict` returned; load model and optimiser before this.

        Raises:
            ValueError: see `SparseTraining.load_state_dict`; or the state has no running gradients,
                or those of another kind of optimiser.
        """
        updates, moments = state["updates"], state["moments"]
        if self._moments is not None:
            if moments is None:
                raise ValueError("the state has no running gradients, which these criteria need")
            self._moments.refuse_other(moments)
        super().load_state_dict(state)
        self.updates = updates
        if self._moments is not None:
            self._moments.load_state_dict(moments)

    def _needs(self, what: str) -> bool:
        used: list[Criterion | GrowthPlan] = [self.prune, self.grow]
        used += [*self._prune_of.values(), *self._grow_of.values()]
        return self.redistribute == what or any(getattr(one, f"needs_{what}") for one in used)

    def before_masking(self, gradients: list[Tensor]) -> None:
        """Take note of the gradients, where a criterion in use asks for them."""
        wanted = self.changes_masks(self.steps) and self._needs("gradient")
        if not wanted and self._moments is None:
            return
        if self.candidates == "frozen_without_gradient" and self._any_frozen:
            pairs = zip(gradients, self.frozen.values(), strict=True)
            gradients = [foreach.zero_where(frozen, g) for g, frozen in pairs]
        if self._moments is not None and self._step_follows:
            self._moments.update(gradients)
        if wanted or not self._step_follows:
            gradients = [g.clone() for g in gradients]
        if wanted:
            self._gradients = gradients
        if self._moments is not None and not self._step_follows:
            self._unseen = gradients

    def _confirm_step(self) -> None:
        if self._moments is not None and self._unseen is not None:
            self._moments.update(self._unseen)
        self._unseen = None

    def _forget_masking(self) -> None:
        super()._forget_masking()
        self._gradients = self._unseen = None

    def update_topology(self) -> None:
        """Prune and grow every layer that had a gradient in this step."""
        self._warn_of_divergence()
        self._idle_layers.take(self._idle)
        fraction = self.steps / self.schedule.total_steps
        growths = {n: self._grow_of.get(n, self.grow).at(fraction) for n in self.weights}
        prunes = {name: self._prune_of.get(name, self.prune) for name in self.weights}
        self._replace_weights(self.prune_rate(), prunes, growths)
        self._gradients = None
        self._proven = [*prunes.values(), *growths.values()]
        self._proven += [part for growth in growths.values() for part, _ in picks(growth, 0)]
        self.updates += 1

    def _replace_weights(
        self, rate: float, prunes: Mapping[str, Criterion], growths: Mapping[str, Criterion]
    ) -> None:
        """Prune every layer, decide how many each one grows, grow."""
        for name in self.structures:
            self._replace_structured(name, rate, prunes[name], growths[name])
        names = [name for name in self.weights if name not in self.structures]
        views = {name: self._view(name) for name in names}
        removed = [self._to_remove(name, rate) for name in names]
        kept = self._kept(views, prunes, removed)
        if self.redistribute == "none":
            grown = removed
        else:
            room = self._rooms(kept)
            if sum(removed) > sum(room):  # weights that others hold were pruned and cannot return
                removed = allocate(sum(self._rooms(list(self.masks.values()))), removed, removed)
                kept = self._kept(views, prunes, removed)
                room = self._rooms(kept)
            portions = shares(list(views.values()), kept, self.redistribute)
            grown = allocate(sum(removed), portions, room)
        for name, left, gone, count in zip(names, kept, removed, grown):
            if gone or count:
                candidates = self._candidates(name, left)
                chosen = self._chosen(name, growths[name], views[name], candidates, count)
                self.set_mask(name, left | chosen, self.counts[name] + count - gone)
        if self._moments is not None:
            self._moments.forget_non_finite()

    def grew(self, name: str, criterion: Criterion, picked: Tensor, count: int) -> None:
        """Take note of what a criterion grew in a layer without a structure; does nothing here.

        Args:
            name: of the layer.
            criterion: one of the mix, where growth is one.
            picked: boolean, of the weight's shape; weights that were pruned a moment ago included.
            count: how many entries are true.
        """

    def _chosen(
        self, name: str, growth: Criterion, view: LayerView, candidates: Tensor, count: int
    ) -> Tensor:
        """Exactly so many of the candidates; the criteria of a mix pick one after another."""
        chosen = None
        for criterion, number in picks(growth, count):
            left = candidates if chosen is None else candidates & ~chosen
            picked = self._picked(name, self._scores(criterion, view), left, number)
            self.grew(name, criterion, picked, number)
            chosen = picked if chosen is None else chosen | picked
        assert chosen is not None
        return chosen

    def _picked(self, name: str, scores: Tensor, candidates: Tensor, count: int) -> Tensor:
        """The candidates of a layer with the highest scores, exactly so many."""
        return select_top(scores, candidates, count)

    def _kept(
        self, views: Mapping[str, LayerView], prunes: Mapping[str, Criterion], removed: list[int]
    ) -> list[Tensor]:
        """What is left of the masks without so many weights of the lowest scores."""
        kept = []
        for (name, view), count in zip(views.items(), removed):
            mask = self.masks[name]
            if count:
                mask = mask & ~select_top(-self._scores(prunes[name], view), mask, count)
            kept.append(mask)
        return kept

    def _rooms(self, masks: list[Tensor]) -> list[int]:
        """How many weights each layer could grow, where layers compete; one wait for the device."""
        free = [
            torch.zeros_like(mask) if name in self._idle else self._candidates(name, mask)
            for name, mask in zip(self.weights, masks)
        ]
        return torch.stack([candidates.count_nonzero() for candidates in free]).tolist()

    def _replace_structured(
        self, name: str, rate: float, prune: Criterion, growth: Criterion
    ) -> None:
        """Prune and grow one layer within its structure."""
        mask, active = self.masks[name], self.counts[name]
        if active == mask.numel() or name in self._idle:
            return
        view = self._view(name)
        layer = Topology(
            mask=mask,
            prune=self._scores(prune, view),
            grow=self._scores(growth, view),
            growable=~self.frozen[name] if self.candidates == "free" else None,
            active=active,
            budget=self.budget[name],
            rate=rate,
        )
        self.set_mask(name, *self.structures[name].replace(layer))

    def _scores(self, criterion: Criterion, view: LayerView) -> Tensor:
        scores = criterion(view)
        if criterion not in self._proven:  # later nobody waits for the device
            refuse_nan(criterion, scores, view)
        return scores

    def _to_remove(self, name: str, rate: float) -> int:
        if name in self._idle:  # without a gradient nothing was learned about it
            return 0
        active = self.counts[name]
        asked = rounded_up(rate, active)
        # A layer alone may lose no weight that it cannot grow again. Competing layers may, but for
        # the last one, without which they would pass on nothing and never grow again; and a layer
        # that was made dense takes no part.
        if self.redistribute == "none":
            return min(asked, self._room(name))
        if self.budget[name] == self.masks[name].numel():
            return 0
        return min(asked, max(active - 1, 0))

    def _candidates(self, name: str, kept: Tensor) -> Tensor:
        return ~kept & ~self.frozen[name] if self.candidates == "free" else ~kept

    def _view(self, name: str) -> LayerView:
        index = self._index[name]
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
