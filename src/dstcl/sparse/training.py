"""Training with a fixed mask: the optimiser-side step that every sparse method shares.

The model stays an ordinary model with dense tensors whose inactive entries are exactly zero.
Gradients are kept only where ``mask & ~frozen``. This preserves sparsity and isolation and keeps
the optimiser's state clean. After the optimiser's step, the weights are masked in the same way and
the frozen values are added back. So no weight decay, momentum, update rule or infinite gradient can
move an inactive or frozen weight.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from dstcl.nested import copies
from dstcl.sparse import foreach
from dstcl.sparse.attach import Attachment
from dstcl.sparse.copies import mask_model
from dstcl.sparse.densities import Init, active_counts, refuse_no_number
from dstcl.sparse.exporting import export
from dstcl.sparse.flops import forward_work
from dstcl.sparse.groups import Groups, group_members, named_overrides, spread_density
from dstcl.sparse.health import replaced_problem, warn_of_divergence, warn_of_idle_masks
from dstcl.sparse.layers import (
    Names,
    converted,
    first_few,
    fitting_masks,
    refuse_sharded,
    refuse_shared_memory,
    select_weights,
    sparse_gradient,
    trained_weights,
)
from dstcl.sparse.masks import (
    Masks,
    draw_masks,
    no_masks,
    own_generator,
    pack_mask,
    unpack_masks,
)
from dstcl.sparse.optimizers import (
    Optimizers,
    all_gradients,
    as_optimizers,
    forget_moments,
    overflowed,
    refuse_unheld,
    unscale,
)
from dstcl.sparse.ranks import draw_as_first, several_ranks, take_from_first
from dstcl.sparse.statefile import load_state, save_state
from dstcl.sparse.structure import Given, layer_structures
from dstcl.sparse.structure.parse import (
    nearest_counts,
    refuse_broken,
    refuse_other_order,
    structured_overrides,
)
from dstcl.sparse.telling import Changes, log_values, summary
from dstcl.sparse.unmasked import warn_of_mostly_dense

REGROWN = ("stored", "zero")
MASKS_DECIDE = (
    "given masks decide every density: leave out density, overrides, and density and init of groups"
)
Made = TypeVar("Made")


class _BeginsWhenMade(ABCMeta):
    """Calls `SparseTraining.begin` when the constructors of all subclasses have run."""

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor, which ``help`` would not show for a class with `__call__`."""
        own = inspect.signature(cls.__init__)  # type: ignore[misc]
        return own.replace(parameters=list(own.parameters.values())[1:])

    def __call__(cls: type[Made], *arguments: Any, **settings: Any) -> Made:
        made: Any = super().__call__(*arguments, **settings)  # type: ignore[misc]
        if not made._begun:
            made.begin()
        return made


class SparseTraining(metaclass=_BeginsWhenMade):
    """Static sparse training: the mask is drawn once and kept.

    With ``frozen``, the weights' values at construction are their *stored* values, those of earlier
    tasks: an active frozen weight always equals its stored value, before, during and after
    training.

    To write another method, override any of these in a subclass; all of them are called without
    gradient recording:

    - `first_masks`: which weights are active at the start;
    - `before_masking`: read or change the dense gradients of a step;
    - `changes_masks`: after which steps masks change;
    - `update_topology`: change them, with `set_mask`;
    - `settled`: whether the masks have their final density.

    You may set fields before or after ``super().__init__()``: no hook is called before all
    constructors have run. Masks exist from `begin` on.

        class Rewired(SparseTraining):  # new random masks every thousand steps
            def changes_masks(self, step):
                return step % 1000 == 0

            def update_topology(self):
                for name, mask in self.first_masks().items():
                    self.set_mask(name, mask, self.budget[name])

    Args:
        model: any module with layers that can be masked: linear, convolutional (also transposed),
            attention and recurrent layers.
        optimizer: any torch optimiser over the model's parameters, or a list of several.
        density: fraction of all masked weights that are active; not with ``masks``, which determine
            it, unless it is theirs or `density_beside_masks`.
        init: how density is distributed over layers: a name in `INITS`, a function from shapes and
            density to the density of each layer, or the ``module:attribute`` of one.
        frozen: for each masked weight, true where training must not change the value; ``{}`` for
            the first of several tasks, where nothing is frozen yet. Without it there are no stored
            values.
        exclude: names of modules or parameters that stay dense (for example a head per task); ``*``
            and ``?`` as in file names.
        include: additional matrices and kernels to mask, such as those of embeddings.
        overrides: density of single layers, by parameter or module name or a pattern.
        groups: settings of parts of the model: ``{"*.mlp.*": {"density": 0.05}}``; density and
            init here, criteria too in `DynamicSparseTraining`. If several patterns match a weight,
            the first one applies.
        masks: use these masks instead of drawing new ones; "nonzero": active where the model's
            weights are not zero, for a pruned model.
        regrown: value of a frozen weight that becomes active again: "stored"; or "zero": it is zero
            in training, and only `consolidated` restores the stored value.
        structure: allowed masks: "none", "2:4" or another n:m, "block:4x4", "fan-in" or
            "fan-in:ablate" (`dstcl.sparse.structure`); or a mapping from patterns of names to
            these. Counts are rounded to the nearest possible ones; n:m determines the density.
        generator: source of randomness; without one, a generator is seeded from torch's default
            generator, so ``torch.manual_seed`` makes training reproducible.
        sync: with several processes (torch.distributed), start with the weights and random draws of
            rank 0; use False if processes train different models.

    Attributes:
        density_beside_masks: of the class: given masks may have another density than ``density``,
            as training has a use for both.
        keeps_stored: of the class: there are stored values without ``frozen``, too.
        weights: the masked weights by parameter name; all other mappings use these names. Tied
            weights appear once, under the first of their names that is the weight of a layer.
        selection: the weights that are not masked, with reasons.
        shapes: shapes of the weights.
        densities, budget: target fraction and number of active weights of each layer.
        structures: structures of the layers that have one.
        stored, frozen: see above; ``stored`` is empty if there are none.
        masks: true where a weight is active. Only changed in place, because CUDA graphs store their
            addresses.
        counts: current number of active weights of each layer.
        explored: true where a weight has been active at any time.
        steps: number of optimiser steps so far.
        optimizers, optimizer: all optimisers, and the first one.

    Raises:
        ValueError: nothing to mask, a sharded model, two parameters in one memory, a weight that
            belongs to no optimiser, densities that cannot be met, names that are not in the model,
            masks that do not match or have another density, or a structure that a layer or its
            density does not allow.
    """

    density_beside_masks: ClassVar[bool] = False
    keeps_stored: ClassVar[bool] = False
    _group_settings: ClassVar[tuple[str, ...]] = ("density", "init")

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizers,
        *,
        density: float | None = None,
        init: str | Init = "erk",
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
        if regrown not in REGROWN:
            raise ValueError(f"unknown regrown {regrown!r}; known: {', '.join(REGROWN)}")
        self.regrown = regrown
        self.model = model
        self.optimizers = as_optimizers(optimizer)
        self.optimizer = self.optimizers[0]
        self.generator = generator or own_generator()
        if density is not None:
            refuse_no_number("density:", density)
        refuse_sharded(model)
        self.selection = select_weights(model, exclude, include)
        self.weights = trained_weights(self.selection)
        refuse_shared_memory(model, self.weights)
        warn_of_mostly_dense(model, self.selection)
        refuse_unheld(self.optimizers, self.weights)
        self.shapes = {name: tuple(w.shape) for name, w in self.weights.items()}
        self.device = next(iter(self.weights.values())).device
        self._several_ranks = sync and several_ranks()
        if self._several_ranks:
            take_from_first(w.detach() for w in self.weights.values())
        self._given_masks = self._checked_masks(masks)
        self._asked_density = density
        self.members = group_members(groups or {}, self.weights, self._group_settings)
        self.groups = dict(groups or {})
        self.structures = layer_structures(structure, self.shapes)
        refuse_other_order(self.structures, model)
        single = named_overrides(overrides, self.shapes)
        grouped = {
            name: self.groups[pattern]["density"]
            for pattern, names in self.members.items()
            if "density" in self.groups[pattern]
            for name in names
        }
        single = structured_overrides(self.structures, self.shapes, density, single, grouped)
        self.densities = self._densities(density, init, single)
        counts = active_counts(self.shapes, self.densities)
        self.budget = nearest_counts(self.structures, self.shapes, counts)
        if density is not None and not self.density_beside_masks:
            self._refuse_other_masks(density)
        self.stored: dict[str, Tensor] = {}
        if frozen is not None or self.keeps_stored:
            self.stored = copies(self.weights)
        self.frozen = (
            fitting_masks("frozen", frozen, self.weights) if frozen else no_masks(self.weights)
        )
        self.steps = 0
        self._parameters: list[Tensor] = list(self.weights.values())
        self._types = [w.dtype for w in self._parameters]
        self._any_frozen = bool(frozen)
        self._begun = False
        self._masked = False
        # Else nothing may be taken in for good before the step is made.
        self._step_follows = True
        self._idle: frozenset[str] = frozenset()
        self._told_divergence = False
        self._attachment: Attachment | None = None
        self._changes: Changes | None = None

    @torch.no_grad()
    def begin(self) -> None:
        """Make the network sparse.

        Called once construction is complete. A subclass that needs masks in its constructor calls
        it there, when the fields that its hooks read are set; one that keeps something for each
        mask may extend it.
        """
        self._begun = True
        given, self._given_masks = self._given_masks, None
        if self._several_ranks:
            draw_as_first(self.generator, self.device)
        masks = self.first_masks() if given is None else given
        self.masks: Masks = fitting_masks("masks", masks, self.weights)
        refuse_broken("masks", self.structures, self.masks)
        self.counts = {name: int(mask.count_nonzero()) for name, mask in self.masks.items()}
        self.explored: Masks = copies(self.masks)
        foreach.multiply_(self._parameters, list(self.masks.values()))
        self._make_multipliers()
        self._refresh_multipliers()

    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """Replace ``optimizer.step()``: mask gradients, step, mask weights, update the topology.

        Weights without a gradient are left alone, as torch's optimisers do. A step that trains
        only what is not masked is one, too.

        Args:
            scaler: with mixed precision, the scaler; gradients are unscaled before they are read,
                unless they are already. A step that it skips, because gradients overflowed, is no
                step here either.

        Raises:
            RuntimeError: nothing has a gradient.
            ValueError: weights have another type than when the training was made, or a gradient
                is a sparse tensor, as of ``nn.Embedding(..., sparse=True)``.
        """
        scaler = scaler if scaler is not None and scaler.is_enabled() else None
        if scaler is not None:
            unscale(scaler, self.optimizers)
            if overflowed(self.optimizers):
                self._forget_masking()
                return
        self.mask_for_step()
        with torch.no_grad():
            for optimizer in self.optimizers:
                # A scaler has nothing to say of an optimiser without gradients, and fails.
                if scaler is None or not all_gradients([optimizer]):
                    optimizer.step()
                else:
                    scaler.step(optimizer)
        if self._attachment is None:
            self.finish_step()

    def attach(self) -> None:
        """Make ``optimizer.step()`` do what `step` does, for trainers that call it themselves.

        Bit for bit the same as `step`. Closures are evaluated first; a step that a gradient scaler
        skips, or for which no optimiser has a gradient, is no step here. Several optimisers make
        one step when ``step()`` of each has been called, with or without gradients; with a gradient
        scaler there must be one, or `step` is called with the scaler.

        Raises:
            ValueError: another training of the same weights is attached to the same optimiser.
        """
        if self._attachment is None:
            self._attachment = Attachment(self)

    @property
    def attached(self) -> bool:
        """Whether ``optimizer.step()`` does what `step` does."""
        return self._attachment is not None

    def detach(self) -> None:
        """Undo `attach`; a step that only some of several optimisers have made is finished."""
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.remove()

    @torch.no_grad()
    def mask_gradients(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """Mask the gradients now instead of in `step`, so that clipping sees the norm of those that
        train: between ``backward()`` and ``clip_grad_norm_``. Growth still sees the dense ones.

        A new step begins: one that only some of several attached optimisers have made is finished.

        If the step is not made, call this again for the next one, or load a state: the gradients of
        this one then count for nothing.

        Args:
            scaler: with mixed precision; gradients are unscaled first. Without effect on a step
                that it will skip.

        Raises:
            RuntimeError, ValueError: as `step`.
        """
        if self._attachment is not None:
            self._attachment.finish()
        self._forget_masking()
        if scaler is not None and scaler.is_enabled():
            unscale(scaler, self.optimizers)
            if overflowed(self.optimizers):
                return
        self._mask(step_follows=False)

    def ensure_masked(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """As `mask_gradients`; once more in the same step, growth does not look at them again."""
        if self._masked:
            self.keep_gradients()
        else:
            self.mask_gradients(scaler)

    def forget_masking(self) -> None:
        """Undo `mask_gradients`: the step is not made.

        Without effect where one of several attached optimisers has made its part of it.
        """
        if self._pending():
            self._forget_masking()

    def _pending(self) -> bool:
        """Whether a step is masked of which no optimiser has made its part."""
        return self._masked and not (self._attachment is not None and self._attachment.begun)

    @torch.no_grad()
    def mask_for_step(self) -> None:
        """As `ensure_masked`, where an optimiser's step follows at once."""
        if self._masked:
            self._confirm_step()
        else:
            self._mask(step_follows=True)

    def _mask(self, step_follows: bool) -> None:
        if [w.dtype for w in self._parameters] != self._types:
            raise converted(self.weights, self._types)
        gradients = self._dense_gradients()
        self._masked, self._step_follows = True, step_follows
        self.steps += 1
        self.before_masking(gradients)
        foreach.keep_(gradients, self._gradient_keep)

    @torch.no_grad()
    def keep_gradients(self) -> None:
        """Mask the gradients that there are, once more; growth does not look at them."""
        pairs = zip(self._parameters, self._gradient_keep)
        found = [(w.grad, keep) for w, keep in pairs if w.grad is not None]
        foreach.keep_([g for g, _ in found], [keep for _, keep in found])

    def _dense_gradients(self) -> list[Tensor]:
        """Of all weights, in order; zeros for those that have none."""
        gradients = [w.grad for w in self._parameters]
        found = [g for g in gradients if g is not None]
        if any(g.is_sparse for g in found):
            raise sparse_gradient(self.weights)
        if len(found) == len(gradients):
            self._idle = frozenset()
            return found
        if not found and not all_gradients(self.optimizers):
            if problem := replaced_problem(self.model, self.weights):
                raise RuntimeError(f"no gradient: {problem}")
            raise RuntimeError(
                f"no gradient for {next(iter(self.weights))!r} or any other weight: call "
                "loss.backward() before step()"
            )
        self._idle = frozenset(n for n, w in self.weights.items() if w.grad is None)
        return [torch.zeros_like(w) if w.grad is None else w.grad for w in self._parameters]

    @torch.no_grad()
    def restore(self) -> None:
        """Make inactive weights zero again and frozen ones what they were, whatever changed them:
        an optimiser, or loading a dense model's weights."""
        self._restore_fixed_weights()

    def mask_model(self, model: nn.Module) -> None:
        """Make the weights of another model of the same architecture zero where the masks of now
        are false: those of an average over training steps, for example.

        Args:
            model: a copy of the model that is trained; it may be wrapped in `AveragedModel` or
                `DistributedDataParallel`, or compiled.

        Raises:
            ValueError: a masked weight is not in it, or has another shape; nothing is changed then.
        """
        mask_model(model, self.model, self.selection, self.masks)

    @torch.no_grad()
    def finish_step(self) -> None:
        """What follows the optimiser's step."""
        self._masked = False
        self._restore_fixed_weights()
        if self.changes_masks(self.steps):
            self._change_masks()

    def _confirm_step(self) -> None:
        """The step that was masked with `mask_gradients` is made."""

    def _forget_masking(self) -> None:
        """The step is not made after all, and leaves no trace."""
        self.steps -= self._masked
        self._masked, self._idle = False, frozenset()

    def first_masks(self) -> Masks:
        """Masks to start with, unless some were given: at random, `budget` active in each layer."""
        return draw_masks(self.shapes, self.budget, self.generator, self.device, self.structures)

    def before_masking(self, gradients: list[Tensor]) -> None:
        """Read the dense gradients of a step, or change them in place; does nothing here.

        Args:
            gradients: of all weights, in the order of `weights`; those of frozen and inactive ones
                are masked next.
        """

    def update_topology(self) -> None:
        """Change masks after a step for which `changes_masks` is true; does nothing here.

        Weights are brought into line with the masks afterwards, and the counts are checked.
        """

    def set_mask(self, name: str, mask: Tensor, active: int) -> None:
        """Make other weights of a layer active, in place; for use in `update_topology`.

        The optimiser forgets the moments of weights that come or go, as in RigL.

        Args:
            name: of the layer.
            mask: boolean, of the weight's shape.
            active: how many entries are true, as the caller knows it without asking the device.
        """
        forget_moments(self.optimizers, self.weights[name], self.masks[name] & mask)
        self.masks[name].copy_(mask)
        self.explored[name].logical_or_(mask)
        self.counts[name] = active

    def changes_masks(self, step: int) -> bool:
        """Whether a step, counted from 1, also changes masks. Those that do not are the same
        operations on the same tensors, so a CUDA graph can record one and replay it."""
        return False

    def count_replayed_step(self) -> None:
        """Take note of a step that was made by replaying the operations of an earlier one."""
        self.steps += 1

    def settled(self) -> bool:
        """Whether the masks have their final density, so that this state could be kept."""
        return True

    def prune_rate(self) -> float:
        """Fraction of the active weights that an update now would replace: none."""
        return 0.0

    def density(self) -> float:
        """Realised density over all maskable weights."""
        return sum(self.counts.values()) / sum(w.numel() for w in self._parameters)

    def explored_fraction(self) -> float:
        """Share of the maskable weights active at any time so far (ITOP; Liu et al. 2021)."""
        explored = torch.stack([e.count_nonzero() for e in self.explored.values()]).sum()
        return float(explored) / sum(w.numel() for w in self._parameters)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which have optimisers of their own."""
        own = {"_attachment": None, "_attached": self.attached, "_masked": self._pending()}
        return {**self.__dict__, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Attached to its own optimisers if the original was; the gradients of a step that was
        masked but not made are not copied, so that step is forgotten."""
        attached = state.pop("_attached")
        self.__dict__.update(state)
        self._forget_masking()
        if attached:
            self.attach()

    def summary(self, inputs: Any = None) -> str:
        """A table of the masked weights, then what stays dense and why.

        Args:
            inputs: a batch as the model takes it, for the FLOPs of one of them; the model runs once
                on it, in evaluation mode.

        Warns as `log`.
        """
        warn_of_idle_masks(self)
        work = None if inputs is None else forward_work(self.model, inputs, self.weights)
        return summary(self, work)

    def log(self) -> dict[str, float]:
        """Numbers for a logger, by name.

        ``density``, ``prune_rate`` and ``explored`` (shares), ``dead_units`` (share of rows of all
        weights without an active entry), ``density/<weight>``; and once masks have changed since
        the first call of this, ``change`` (share of the active weights that the last update
        replaced) and ``survival`` (of the weights that the update before it grew). Masks are copied
        for these two from the first call on.

        Warns if masks act on nothing: inactive weights are not zero, as another optimiser steps or
        others were loaded, or the model has other tensors now. Warns once if weights are not
        finite.
        """
        warn_of_idle_masks(self)
        self._warn_of_divergence()
        if self._changes is None:
            self._changes = Changes(self.masks)
        return log_values(self, self._changes)

    def __repr__(self) -> str:
        weights = sum(w.numel() for w in self._parameters)
        density = f"density {self.density():.4f}" if self._begun else "not begun"
        return (
            f"{type(self).__name__}({len(self.weights)} weights of {weights:,} entries, {density}, "
            f"{self.steps} steps)"
        )

    def consolidated(self) -> dict[str, Tensor]:
        """Dense values to keep: the trained value where active, the stored one elsewhere.

        With ``regrown="zero"`` the stored value is taken wherever the trained one is exactly 0,
        active or not.

        Raises:
            ValueError: there are no stored values.
        """
        if not self.stored:
            raise ValueError("frozen: {} for the first of several tasks, so that values are stored")
        values = {}
        for name, weight in self.weights.items():
            trained = self.masks[name] if self.regrown == "stored" else weight != 0
            values[name] = torch.where(trained, weight.detach(), self.stored[name])
        return values

    def export(
        self, model: nn.Module, to: str = "csr", *, densest: float | None = None
    ) -> nn.Module:
        """`dstcl.export` of the model that is trained, with the masks of now."""
        return export(model, self.masks, to, densest=densest)

    def check_counts(self) -> None:
        """Assert that every layer has exactly as many active weights as it should.

        Raises:
            AssertionError: naming the layer, its active weights and its target.
        """
        actual = torch.stack([mask.count_nonzero() for mask in self.masks.values()]).tolist()
        for (name, target), count in zip(self.counts.items(), actual):
            if count != target:
                raise AssertionError(f"layer {name!r} has {count} active weights, not {target}")

    def state_dict(self) -> dict[str, Any]:
        """Masks (packed), explored sets, steps and generator; enough to resume bit for bit
        together with the states of the model and of the optimiser. A step that is masked but not
        made is not in it; one that only some of several optimisers have made is. Warns as `log`."""
        warn_of_idle_masks(self)
        return {
            "steps": self.steps - self._pending(),
            "generator": self.generator.get_state(),
            "counts": dict(self.counts),
            "masks": {name: pack_mask(mask) for name, mask in self.masks.items()},
            "explored": {name: pack_mask(mask) for name, mask in self.explored.items()},
            "stored": copies(self.stored),
            "shapes": dict(self.shapes),
            "density": self._asked_density,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this.

        A step that is masked but not made is forgotten.

        Raises:
            ValueError: the state is of other weights or structures, or of another density; nothing
                is changed then.
        """
        if other := set(state["masks"]) ^ set(self.weights):
            raise ValueError(f"state: masks of other weights; {first_few(sorted(other))} differ")
        stored = state["stored"]
        if self.stored and not stored:
            raise ValueError("state: of a training without frozen, so it has no stored values")
        theirs, mine = state.get("density"), self._asked_density
        if None not in (theirs, mine) and theirs != mine:
            raise ValueError(f"state: of density {theirs}, this training has {mine}")
        # States of earlier code have stored values, and no shapes.
        shapes = state.get("shapes") or {name: value.shape for name, value in stored.items()}
        masks = unpack_masks(state["masks"], self.shapes)
        explored = unpack_masks(state["explored"], self.shapes)
        for name, shape in self.shapes.items():
            if (theirs := tuple(shapes[name])) != shape:
                raise ValueError(f"state: {name!r} has shape {theirs} there, {shape} here")
        refuse_broken("state", self.structures, masks)
        self._forget_masking()
        self._told_divergence = False
        if self._attachment is not None:
            self._attachment.forget()
        self.steps = state["steps"]
        self.generator.set_state(state["generator"].cpu())
        self.counts = dict(state["counts"])
        for name in self.shapes:
            self.masks[name].copy_(masks[name])
            self.explored[name].copy_(explored[name])
        for name, value in self.stored.items():
            value.copy_(stored[name])
        self._refresh_multipliers()
        if self._changes is not None:
            self._changes = Changes(self.masks)

    def save(self, path: Path | str) -> None:
        """Write `state_dict` as one safetensors file, masks at one bit per weight.

        Between two steps; with several processes in one of them.

        Raises:
            TypeError: a subclass's state holds what is neither a tensor nor JSON.
        """
        save_state(path, self)

    def load(self, path: Path | str) -> None:
        """Restore a file of `save`, without pickle; load model and optimiser before this.

        Raises:
            ValueError: naming the file, if it is missing, damaged, or of another model or method;
                nothing is changed then.
        """
        load_state(path, self)

    def _change_masks(self) -> None:
        if self._several_ranks:
            draw_as_first(self.generator, self.device)
        self.update_topology()
        self._refresh_multipliers()
        self._restore_fixed_weights()
        self.check_counts()
        if self._changes is not None:
            self._changes.take(self.masks)

    def _warn_of_divergence(self) -> None:
        if not self._told_divergence:
            self._told_divergence = warn_of_divergence(self.weights)

    def _checked_masks(
        self, masks: Mapping[str, Tensor] | Literal["nonzero"] | None
    ) -> Mapping[str, Tensor] | None:
        if isinstance(masks, str):
            if masks != "nonzero":
                raise ValueError(f"masks: {masks!r}; masks by parameter name, or 'nonzero'")
            return {name: w.detach() != 0 for name, w in self.weights.items()}
        return None if masks is None else fitting_masks("masks", masks, self.weights)

    def _densities(
        self, density: float | None, init: str | Init, overrides: dict[str, float]
    ) -> dict[str, float]:
        if density is None:
            if self._given_masks is None:
                raise ValueError("density: needed, unless masks are given")
            fixed = {n for n, structure in self.structures.items() if structure.density()}
            grouped = any({"density", "init"} & set(own) for own in self.groups.values())
            if grouped or overrides.keys() - fixed:
                raise ValueError(f"masks: {MASKS_DECIDE}")
            return {n: float(m.float().mean()) for n, m in self._given_masks.items()}
        return spread_density(self.shapes, density, init, overrides, self.groups, self.members)

    def _refuse_other_masks(self, density: float) -> None:
        """Refuse given masks with other numbers of active weights than ``density`` asks for."""
        for name, mask in (self._given_masks or {}).items():
            if (count := int(mask.count_nonzero())) != self.budget[name]:
                raise ValueError(
                    f"density: {density} asks for {self.budget[name]} active weights in {name!r}, "
                    f"its mask has {count}; {MASKS_DECIDE}"
                )

    def _make_multipliers(self) -> None:
        """Room for what the step keeps and adds; filled in place ever after."""
        self._weight_keep = foreach.keepers(self._parameters)
        self._gradient_keep = self._weight_keep
        pinned = self._parameters if self._any_frozen else ()
        self._pinned = [torch.empty_like(w) for w in pinned]

    def _refresh_multipliers(self) -> None:
        """Bring them into line with the masks; in place, so that captured graphs stay valid."""
        trainable = [self.masks[n] & ~self.frozen[n] for n in self.weights]
        foreach.set_keepers_(self._weight_keep, trainable)
        if self._pinned:
            values = self.stored if self.regrown == "stored" else self.weights
            pinned = [self.masks[n] & self.frozen[n] for n in self.weights]
            foreach.copy_(self._pinned, [values[n].detach() for n in self.weights])
            foreach.keep_(self._pinned, foreach.keeping(self._pinned, pinned))

    def _restore_fixed_weights(self) -> None:
        foreach.keep_(self._parameters, self._weight_keep)
        if self._pinned:
            foreach.add_(self._parameters, self._pinned)
