"""Training with a fixed mask: the optimiser-side step that every sparse method shares.

The model stays an ordinary model with dense tensors whose inactive entries are exactly zero. One
multiplication of the gradients by ``mask & ~frozen`` keeps sparsity and isolation at once, and
keeps the optimiser's state clean; after the optimiser's step the weights are multiplied the same
way and the frozen values added back, so that no weight decay, momentum or update rule of any
optimiser can move an inactive or frozen weight.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.sparse import foreach
from dstcl.sparse.densities import Init, active_counts, layer_densities
from dstcl.sparse.exporting import export
from dstcl.sparse.layers import fitting_masks, maskable_weights
from dstcl.sparse.masks import Masks, draw_masks, pack_mask, unpack_mask
from dstcl.sparse.structure import Given, layer_structures
from dstcl.sparse.structure.parse import nearest_counts, refuse_broken, structured_overrides

REGROWN = ("stored", "zero")


class _BeginsWhenMade(ABCMeta):
    """Calls `SparseTraining.begin` when the constructors of all subclasses have run."""

    def __call__(cls, *arguments: Any, **settings: Any) -> Any:
        made = super().__call__(*arguments, **settings)
        if not made._begun:
            made.begin()
        return made


class SparseTraining(metaclass=_BeginsWhenMade):
    """Static sparse training: a mask is drawn once and kept.

    The values that the model holds when it is passed in are its *stored* values. With ``frozen``
    they are also the values of earlier tasks: an active frozen weight always equals its stored
    value, before, during and after training.

    To write another method, subclass and override any of these; all of them are called without
    gradient recording:

    - `first_masks`: which weights are active at the start;
    - `before_masking`: read or change the dense gradients of a step;
    - `changes_masks`: after which steps masks change;
    - `update_topology`: change them, with `set_mask`;
    - `settled`: whether the masks have their final density.

    Fields may be set before or after ``super().__init__()``: no hook is called before all
    constructors have run. Masks are there from `begin` on.

        class Rewired(SparseTraining):  # other random masks every thousand steps
            def changes_masks(self, step):
                return step % 1000 == 0

            def update_topology(self):
                for name, mask in self.first_masks().items():
                    self.set_mask(name, mask, self.budget[name])

    Args:
        model: any module with linear or convolutional layers.
        optimizer: any torch optimiser over the model's parameters.
        density: active over all maskable weights.
        init: how density is spread over layers: a name in `INITS`, a function from shapes and
            density to the density of each layer, or the ``module:attribute`` of one.
        frozen: for each maskable weight, true where training must not change the value.
        exclude: names of modules that stay dense (a head of its own for each task, say).
        overrides: density of single layers, by parameter name.
        masks: use these masks instead of drawing new ones.
        regrown: value of a frozen weight that becomes active again: "stored"; or "zero", where it
            is zero in training and the stored value only comes back in `consolidated`.
        structure: which masks are possible: "none", "2:4" or another n:m, "block:4x4", "fan-in" or
            "fan-in:ablate" (`dstcl.sparse.structure`); or a mapping from patterns of names to
            these. Counts become the nearest possible ones; n:m has its own density.
        generator: source of randomness; the default is seeded with 0 on the CPU.

    Attributes:
        weights: the maskable weights by parameter name; all other mappings have these names.
        shapes: of the weights.
        densities, budget: active share and number of each layer that density and init ask for.
        structures: of the layers that have one.
        stored, frozen: see above.
        masks: true where a weight is active. Changed in place only, as CUDA graphs remember where
            they are.
        counts: active weights of each layer now.
        explored: true where a weight was active at any time so far.
        steps: optimiser steps made.

    Raises:
        ValueError: no maskable weights, densities that cannot be met, masks that do not fit, or a
            structure that a layer or its density cannot have.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float,
        init: str | Init = "erk",
        frozen: Mapping[str, Tensor] | None = None,
        exclude: Iterable[str] = (),
        overrides: Mapping[str, float] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        regrown: str = "stored",
        structure: Given = "none",
        generator: torch.Generator | None = None,
    ) -> None:
        if regrown not in REGROWN:
            raise ValueError(f"unknown regrown {regrown!r}; known: {', '.join(REGROWN)}")
        self.regrown = regrown
        self.optimizer = optimizer
        self.generator = generator or torch.Generator().manual_seed(0)
        self.weights = maskable_weights(model, exclude)
        if not self.weights:
            raise ValueError("the model has no linear or convolutional layer to make sparse")
        self.shapes = {name: tuple(w.shape) for name, w in self.weights.items()}
        self.structures = layer_structures(structure, self.shapes)
        overrides = structured_overrides(self.structures, self.shapes, density, overrides)
        self.densities = layer_densities(self.shapes, density, init, overrides)
        counts = active_counts(self.shapes, self.densities)
        self.budget = nearest_counts(self.structures, self.shapes, counts)
        self.stored = {name: w.detach().clone() for name, w in self.weights.items()}
        self.frozen = (
            fitting_masks("frozen", frozen, self.weights)
            if frozen
            else {name: torch.zeros_like(w).bool() for name, w in self.weights.items()}
        )
        self.device = next(iter(self.weights.values())).device
        self.steps = 0
        self._parameters = list(self.weights.values())
        self._any_frozen = frozen is not None
        self._given_masks = masks
        self._begun = False

    @torch.no_grad()
    def begin(self) -> None:
        """Make the network sparse.

        Called once construction is complete. A subclass that needs masks in its constructor calls
        it there, when the fields that its hooks read are set; one that keeps something for each
        mask may extend it.
        """
        self._begun = True
        given, self._given_masks = self._given_masks, None
        masks = self.first_masks() if given is None else given
        self.masks: Masks = fitting_masks("masks", masks, self.weights)
        refuse_broken("masks", self.structures, self.masks)
        self.counts = {name: int(mask.count_nonzero()) for name, mask in self.masks.items()}
        self.explored: Masks = {name: mask.clone() for name, mask in self.masks.items()}
        foreach.multiply_(self._parameters, list(self.masks.values()))
        self._make_multipliers()
        self._refresh_multipliers()

    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """Replace ``optimizer.step()``: mask gradients, step, mask weights, update the topology.

        Args:
            scaler: with mixed precision, the scaler; gradients are unscaled before they are read.
                A step that it skips, because gradients overflowed, is no step here either.
        """
        if scaler is not None:
            scaler.unscale_(self.optimizer)
            if self._overflowed():
                scaler.step(self.optimizer)
                return
        self.steps += 1
        gradients = [w.grad for w in self._parameters if w.grad is not None]
        if len(gradients) < len(self._parameters):
            missing = next(name for name, w in self.weights.items() if w.grad is None)
            raise RuntimeError(f"no gradient for {missing!r}: call loss.backward() before step()")
        with torch.no_grad():
            self.before_masking(gradients)
            foreach.multiply_(gradients, self._gradient_factors)
            if scaler is None:
                self.optimizer.step()
            else:
                scaler.step(self.optimizer)
            self._restore_fixed_weights()
            if self.changes_masks(self.steps):
                self._change_masks()

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
        self._reset_optimizer_state(self.weights[name], self.masks[name] & mask)
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

    def _overflowed(self) -> bool:
        """Whether any gradient that the optimiser would see is infinite or NaN."""
        groups = self.optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        return not bool(torch.stack([g.abs().amax() for g in gradients]).isfinite().all())

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

    def consolidated(self) -> dict[str, Tensor]:
        """Dense values to keep: the trained value where active, the stored one elsewhere.

        With ``regrown="zero"`` the stored value is taken wherever the trained one is exactly 0,
        active or not.
        """
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
        together with the states of the model and of the optimiser."""
        return {
            "steps": self.steps,
            "generator": self.generator.get_state(),
            "counts": dict(self.counts),
            "masks": {name: pack_mask(mask) for name, mask in self.masks.items()},
            "explored": {name: pack_mask(mask) for name, mask in self.explored.items()},
            "stored": self.stored,
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this."""
        self.steps = state["steps"]
        self.generator.set_state(state["generator"])
        self.counts = dict(state["counts"])
        for name, shape in self.shapes.items():
            self.masks[name].copy_(unpack_mask(state["masks"][name], shape))
            self.explored[name].copy_(unpack_mask(state["explored"][name], shape))
            self.stored[name].copy_(state["stored"][name])
        refuse_broken("state", self.structures, self.masks)
        self._refresh_multipliers()

    def _change_masks(self) -> None:
        self.update_topology()
        self._refresh_multipliers()
        self._restore_fixed_weights()
        self.check_counts()

    def _reset_optimizer_state(self, weight: Tensor, unchanged: Tensor) -> None:
        """Forget moments of weights that came or went, as RigL does for new ones."""
        unchanged = unchanged.to(weight.dtype)  # converted once, not once for every moment
        for state in self.optimizer.state.get(weight, {}).values():
            if isinstance(state, Tensor) and state.shape == weight.shape:
                state.mul_(unchanged)

    def _make_multipliers(self) -> None:
        """Room for what the step multiplies by and adds; filled in place ever after."""
        self._weight_factors = [torch.empty_like(w) for w in self._parameters]
        self._gradient_factors = self._weight_factors
        pinned = self._parameters if self._any_frozen else ()
        self._pinned = [torch.empty_like(w) for w in pinned]

    def _refresh_multipliers(self) -> None:
        """Bring them into line with the masks; in place, so that captured graphs stay valid."""
        trainable = [self.masks[n] & ~self.frozen[n] for n in self.weights]
        foreach.copy_(self._weight_factors, trainable)
        if self._pinned:
            values = self.stored if self.regrown == "stored" else self.weights
            foreach.copy_(
                self._pinned,
                [values[n].detach() * (self.masks[n] & self.frozen[n]) for n in self.weights],
            )

    def _restore_fixed_weights(self) -> None:
        foreach.multiply_(self._parameters, self._weight_factors)
        if self._pinned:
            foreach.add_(self._parameters, self._pinned)
