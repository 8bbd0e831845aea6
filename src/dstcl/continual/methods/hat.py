"""Hard attention to the task: units are claimed by gates (Serra et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.continual.methods.units import (
    connections,
    gate_outputs,
    input_units,
    refuse_shared_numbers,
    switch_off,
    unit_sites,
)
from dstcl.continual.scoring import Outputs
from dstcl.continual.subnets import SubnetStore
from dstcl.data.batches import Examples
from dstcl.nested import copies
from dstcl.seeds import generator
from dstcl.sparse import SparseTraining, maskable_weights
from dstcl.sparse.masks import Masks
from dstcl.study.fields import Between, Settings
from dstcl.study.run import Run

STEEPEST = 50.0
"""Largest ``s e`` in the compensation of gradients, so that the hyperbolic cosine stays finite; as
in the public code."""
LARGEST = 6.0
"""Embeddings are held between minus and plus this; as in the public code."""


@dataclass(frozen=True, kw_only=True)
class HatSettings(Settings):
    """Settings of hard attention to the task."""

    smax: Annotated[float, Between(gt=1)] = 400.0
    """Slope of the gates at the end of an epoch; at its beginning it is one over this."""
    strength: Annotated[float, Between(ge=0)] = 0.75
    """Weight c of the regulariser, for a loss that is a mean over images."""


def slope(batch: int, batches: int, smax: float) -> float:
    """``s = 1 / smax + (smax - 1 / smax) (b - 1) / (B - 1)``, with b counted from 1 in an epoch."""
    return 1 / smax + (smax - 1 / smax) * (batch - 1) / max(1, batches - 1)


def embedding_gradient(
    embedding: Tensor, of_loss: Tensor, cost: Tensor, s: float, smax: float
) -> Tensor:
    """What an embedding e learns by, given its gradients.

    First that of the regulariser is added: ``cost * da/de`` for the gate ``a = sigmoid(s e)``. Then
    all is divided by the slope of the annealed gate and multiplied by that of a sigmoid of slope
    one, as with steep gates most gradients would vanish:
    ``q' = q smax (cosh(s e) + 1) / (s (cosh(e) + 1))``.

    Args:
        embedding: e, (units,).
        of_loss: gradient of the loss.
        cost: what the regulariser adds to the loss per gate, (units,).
        s: slope of the gates in this step.
        smax: largest slope.
    """
    gate = (s * embedding).sigmoid()
    gradient = of_loss + cost * s * gate * (1 - gate)
    steep = (s * embedding).clamp(-STEEPEST, STEEPEST)
    return gradient * smax / s * (steep.cosh() + 1) / (embedding.cosh() + 1)


class HatTraining(SparseTraining):
    """One task: all weights active, outputs of layers multiplied by gates that are learned.

    After the last step gates are rounded: a unit whose embedding is positive is the task's, and the
    mask is every weight between two of its units. So the network that is kept has no gates.

    Args:
        claimed: units of earlier tasks, by weight; empty for the first task.
        images: two of the task.
        total_steps, epochs: of the task.
        smax, strength: see `HatSettings`.
        **sparse: everything `SparseTraining` takes.

    Attributes:
        embeddings: a number per unit, by weight.
        units: true where an embedding is positive.
    """

    keeps_stored: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        claimed: Mapping[str, Tensor],
        images: Tensor,
        total_steps: int,
        epochs: int,
        smax: float,
        strength: float,
        **sparse: Any,
    ) -> None:
        super().__init__(model, optimizer, **sparse)
        self.total_steps, self.batches = total_steps, total_steps // epochs
        self.smax = smax
        self.open, self.gated = True, True
        self._model, self._images = model, images
        self._slope = torch.tensor(slope(1, self.batches, smax), device=self.device)
        self.embeddings = {}
        for name, weight in self.weights.items():
            draws = self.generator
            draw = torch.randn(weight.shape[:1], generator=draws, device=draws.device)
            self.embeddings[name] = nn.Parameter(draw.to(self.device))
        optimizer.add_param_group({"params": list(self.embeddings.values())})
        room = {
            name: 1 - claimed[name].float() if name in claimed else torch.ones_like(e).detach()
            for name, e in self.embeddings.items()
        }
        left = max(1.0, sum(float(free.sum()) for free in room.values()))
        self._cost = {name: strength * free / left for name, free in room.items()}
        self.values = copies(self.stored)
        self._sites = unit_sites(model, self.weights)
        self._handles = gate_outputs(self._sites, self.weights, self._gate)

    @property
    def units(self) -> dict[str, Tensor]:
        """The units that would be the task's now."""
        return {name: embedding.detach() > 0 for name, embedding in self.embeddings.items()}

    def first_masks(self) -> Masks:
        """Every weight."""
        return {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}

    def before_masking(self, gradients: list[Tensor]) -> None:
        """Regularise and compensate the gradients of embeddings."""
        s = self._slope_at(self.steps)
        for name, embedding in self.embeddings.items():
            loss = torch.zeros_like(embedding) if embedding.grad is None else embedding.grad
            embedding.grad = embedding_gradient(
                embedding.detach(), loss, self._cost[name], s, self.smax
            )

    def settled(self) -> bool:
        """Whether gates have been rounded."""
        return not self.open

    def changes_masks(self, step: int) -> bool:
        """After every step, as its slope of the gates is no other's."""
        return True

    def update_topology(self) -> None:
        """Hold embeddings and set the next slope; after the last step, round the gates."""
        for embedding in self.embeddings.values():
            embedding.clamp_(-LARGEST, LARGEST)
        self._slope.fill_(self._slope_at(self.steps + 1))
        if self.steps == self.total_steps:
            self._round()

    def consolidated(self) -> dict[str, Tensor]:
        """Every weight as it was trained, those between units of no task too."""
        return {
            name: torch.where(self.masks[name], weight.detach(), self.values[name])
            for name, weight in self.weights.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """As `SparseTraining.state_dict`, with embeddings."""
        kept = {"embeddings": copies(self.embeddings), "values": copies(self.values)}
        own = kept | {"open": self.open}
        return super().state_dict() | own

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this."""
        super().load_state_dict(state)
        for name, embedding in self.embeddings.items():
            embedding.copy_(state["embeddings"][name])
            self.values[name].copy_(state["values"][name])
        self._slope.fill_(self._slope_at(self.steps + 1))
        if not state["open"]:
            self._close()

    def _slope_at(self, step: int) -> float:
        return slope((step - 1) % self.batches + 1, self.batches, self.smax)

    def _gate(self, name: str, training: bool) -> Tensor | None:
        """The gates of a layer: soft in training, rounded in testing."""
        if not self.gated:
            return None
        embedding = self.embeddings[name]
        return (self._slope * embedding).sigmoid() if training else (embedding > 0).float()

    def _round(self) -> None:
        units = self.units
        feeding = self._feeding(units)
        for name, weight in self.weights.items():
            self.values[name].copy_(weight)
            mask = connections(weight, units[name], feeding[name])
            self.set_mask(name, mask, int(mask.count_nonzero()))
        switch_off(self._sites, self._model, units)
        self._close()

    def _feeding(self, units: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self.without_gates():
            return input_units(self._model, units, self.weights, self._images)

    @contextmanager
    def without_gates(self) -> Iterator[None]:
        """The network of its weights alone."""
        self.gated = False
        try:
            yield
        finally:
            self.gated = True

    def _close(self) -> None:
        self.open = False
        for handle in self._handles:
            handle.remove()


class HardAttention(Method):
    """Units per task, chosen by learned gates (Serra et al. 2018, section 2).

    Outputs of layers are multiplied by ``a = sigmoid(s e)``, with an embedding e per unit and task
    and a slope s that rises from 1 / smax to smax in every epoch. A weight learns by
    ``[1 - min(a_i, a_j)] dL/dw``, where the two are the largest gates that any earlier task has at
    the weight's ends. The loss has c times the share of the units that are still unclaimed which
    the task takes.

    At a task's end gates are rounded, the limit of s without bound: what an earlier task uses is
    then frozen for good, whatever the optimiser, and forgetting is not only bounded but zero.
    ``density`` means nothing: how much is used is for the regulariser to say.
    """

    dense = True
    reads = ("switches.free_weights",)
    keeps = ("weights", "units")
    trains = ("weights", "units")
    settings = HatSettings

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        refuse_shared_numbers(run, "hat")
        self._claimed: dict[str, Tensor] = {}
        self._open: HatTraining | None = None

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        weights = maskable_weights(task.network, task.store.unmasked)
        frozen = None
        if self._claimed:
            feeding = input_units(task.network, self._claimed, weights, task.images)
            frozen = {
                name: connections(weight, self._claimed[name], feeding[name])
                for name, weight in weights.items()
            }
        self._open = HatTraining(
            task.network,
            task.optimizer,
            claimed=self._claimed,
            images=task.images,
            total_steps=task.steps,
            epochs=self.run.training.epochs,
            smax=self.settings.smax,
            strength=self.settings.strength,
            density=1.0,
            init="uniform",
            exclude=task.store.unmasked,
            frozen=frozen,
            generator=generator(self.run.seed, "masks", task.index),
        )
        return self._open

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Add the task's units to those that are claimed."""
        assert self._open is not None
        for name, units in self._open.units.items():
            self._claimed[name] = self._claimed.get(name, torch.zeros_like(units)) | units

    @contextmanager
    def aside(self) -> Iterator[None]:
        """See `Method.aside`."""
        with self._open.without_gates() if self._open else nullcontext():
            yield

    def state_dict(self) -> dict[str, Any]:
        """Units of finished tasks."""
        return {"claimed": copies(self._claimed)}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self._claimed = {name: units.to(device) for name, units in state["claimed"].items()}
