"""Training with a fixed mask: the optimiser-side step that every sparse method shares.

The model stays an ordinary model with dense tensors whose inactive entries are exactly zero. One
multiplication of the gradients by ``mask & ~frozen`` keeps sparsity and isolation at once, and
keeps the optimiser's state clean; after the optimiser's step the weights are multiplied the same
way and the frozen values added back, so that no weight decay, momentum or update rule of any
optimiser can move an inactive or frozen weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.sparse import foreach
from dstcl.sparse.densities import active_counts, layer_densities
from dstcl.sparse.masks import Masks, draw_masks, pack_mask, unpack_mask

REGROWN = ("stored", "zero")
LAYER_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def maskable_weights(model: nn.Module, exclude: Iterable[str] = ()) -> dict[str, Tensor]:
    """Weights of all linear and convolutional layers by parameter name, in module order.

    ``exclude`` holds module names; a module is left out together with everything below it.
    """
    excluded = tuple(exclude)
    return {
        (f"{name}.weight" if name else "weight"): module.weight
        for name, module in model.named_modules()
        if isinstance(module, LAYER_TYPES)
        and not any(name == e or name.startswith(f"{e}.") for e in excluded)
    }


class SparseTraining:
    """Static sparse training: a mask is drawn once and kept.

    The values that the model holds when it is passed in are its *stored* values. With ``frozen``
    they are also the values of earlier tasks: an active frozen weight always equals its stored
    value, before, during and after training.

    Args:
        model: any module with linear or convolutional layers.
        optimizer: any torch optimiser over the model's parameters.
        density: active over all maskable weights.
        init: how density is spread over layers, see `dstcl.sparse.densities.INITS`.
        frozen: for each maskable weight, true where training must not change the value.
        exclude: names of modules that stay dense (a head of its own for each task, say).
        overrides: density of single layers, by parameter name.
        masks: use these masks instead of drawing new ones.
        regrown: value of a frozen weight that becomes active again: "stored", or "zero" as in the
            paper's code, where the stored value only comes back when the task is consolidated.
        generator: source of randomness; the default is seeded with 0 on the CPU.

    Raises:
        ValueError: no maskable weights, or densities that cannot be met.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float,
        init: str = "erk",
        frozen: Mapping[str, Tensor] | None = None,
        exclude: Iterable[str] = (),
        overrides: Mapping[str, float] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        regrown: str = "stored",
        generator: torch.Generator | None = None,
    ) -> None:
        if regrown not in REGROWN:
            raise ValueError(f"unknown regrown {regrown!r}; known: {', '.join(REGROWN)}")
        self.regrown = regrown
        self.optimizer = optimizer
        self.generator = generator or torch.Generator().manual_seed(0)
        self.weights = maskable_weights(model, exclude)
        self.shapes = {name: tuple(w.shape) for name, w in self.weights.items()}
        self.densities = layer_densities(self.shapes, density, init, overrides)
        self.counts = active_counts(self.shapes, self.densities)
        self.stored = {name: w.detach().clone() for name, w in self.weights.items()}
        self.frozen = {
            name: frozen[name].to(w.device).clone() if frozen else torch.zeros_like(w).bool()
            for name, w in self.weights.items()
        }
        self.device = next(iter(self.weights.values())).device
        if masks is None:
            masks = self._draw()
        self.masks: Masks = {name: masks[name].to(self.device).clone() for name in self.weights}
        self.counts = {name: int(mask.count_nonzero()) for name, mask in self.masks.items()}
        self.explored: Masks = {name: mask.clone() for name, mask in self.masks.items()}
        self.steps = 0
        self._parameters = list(self.weights.values())
        self._any_frozen = frozen is not None
        with torch.no_grad():
            foreach.multiply_(self._parameters, list(self.masks.values()))
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
            self._observe(gradients)
            foreach.multiply_(gradients, self._gradient_factors)
            if scaler is None:
                self.optimizer.step()
            else:
                scaler.step(self.optimizer)
            self._restore_fixed_weights()
            if self.changes_masks(self.steps):
                self._update_topology()

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
        active or not (section c8 of the paper's code).
        """
        values = {}
        for name, weight in self.weights.items():
            trained = self.masks[name] if self.regrown == "stored" else weight != 0
            values[name] = torch.where(trained, weight.detach(), self.stored[name])
        return values

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
        self._refresh_multipliers()

    def _draw(self) -> Masks:
        """The first masks, with exactly `counts` active weights."""
        return draw_masks(self.shapes, self.counts, self.generator, self.device)

    def _observe(self, gradients: list[Tensor]) -> None:
        """Look at dense gradients before they are masked; nothing to see with a fixed mask."""

    def _update_topology(self) -> None:
        """Change masks after a step for which `changes_masks` is true."""

    def _reset_optimizer_state(self, weight: Tensor, unchanged: Tensor) -> None:
        """Forget moments of weights that came or went, as RigL does for new ones."""
        unchanged = unchanged.to(weight.dtype)  # converted once, not once for every moment
        for state in self.optimizer.state.get(weight, {}).values():
            if isinstance(state, Tensor) and state.shape == weight.shape:
                state.mul_(unchanged)

    def _refresh_multipliers(self) -> None:
        """Rebuild what the step multiplies by; in place, so that captured graphs stay valid."""
        trainable = [self.masks[n] & ~self.frozen[n] for n in self.weights]
        values = self.stored if self.regrown == "stored" else self.weights
        shared = self.weights if self._any_frozen else ()
        pinned = [values[n].detach() * (self.masks[n] & self.frozen[n]) for n in shared]
        if not hasattr(self, "_weight_factors"):
            self._weight_factors = [
                t.to(w.dtype) for t, w in zip(trainable, self._parameters, strict=True)
            ]
            self._gradient_factors = self._weight_factors
            self._pinned = pinned
            return
        foreach.copy_(self._weight_factors, trainable)
        if self._pinned:
            foreach.copy_(self._pinned, pinned)

    def _restore_fixed_weights(self) -> None:
        foreach.multiply_(self._parameters, self._weight_factors)
        if self._pinned:
            foreach.add_(self._parameters, self._pinned)
