"""Sub-networks chosen by learned scores: what WSN and SupSup share."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dstcl.nested import copies
from dstcl.sparse import SparseTraining, select_top
from dstcl.sparse.densities import Shapes
from dstcl.sparse.masks import Masks

Scores = Mapping[str, Tensor]
"""By layer, of the weight's shape."""


def fresh_scores(
    shapes: Shapes, generator: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    """Uniform scores between -1 and 1 over the square root of the inputs of a unit.

    The initial scores of the public codes of WSN and SupSup: Kaiming's uniform draw with a slope of
    the square root of 5.
    """
    scores = {}
    for name, shape in shapes.items():
        bound = prod(shape[1:]) ** -0.5
        drawn = torch.rand(shape, generator=generator, device=generator.device)
        scores[name] = (bound * (2 * drawn - 1)).to(device)
    return scores


class ScoredTraining(SparseTraining):
    """A sub-network that is, at every step, the highest scores of each layer.

    The forward pass uses ``w * m``, where ``m`` is 1 for the weights with the highest ``|s|``, as
    many as ``density`` and ``init`` say. In the backward pass ``m`` counts as the identity of
    ``|s|`` (straight-through), so that a score has the gradient ``dL/d(w m) * w * sign(s)``,
    active or not, while a weight has one only where it is active. Scores are parameters of the same
    optimiser; a frozen weight has a score that is trained like any other. A weight that is not
    active keeps its value until it is.

    Args:
        scores: to begin with; None to draw them with the generator.
        **sparse: everything `SparseTraining` takes but ``regrown``: frozen weights always have
            their stored value.

    Attributes:
        scores: by layer.
        values: of all weights, also while they are inactive.
    """

    keeps_stored: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        scores: Scores | None = None,
        **sparse: Any,
    ) -> None:
        super().__init__(model, optimizer, **sparse)
        drawn = scores or fresh_scores(self.shapes, self.generator, self.device)
        self.scores = {name: nn.Parameter(drawn[name].clone()) for name in self.weights}
        self.values = copies(self.stored)
        optimizer.add_param_group({"params": list(self.scores.values())})

    def first_masks(self) -> Masks:
        """The highest scores of each layer."""
        return {name: self._highest(name) for name in self.weights}

    def before_masking(self, gradients: list[Tensor]) -> None:
        """Give every score its gradient."""
        for gradient, (name, score) in zip(gradients, self.scores.items(), strict=True):
            score.grad = gradient * self.values[name] * score.sign()

    def changes_masks(self, step: int) -> bool:
        """After every step, as scores change in every step."""
        return True

    def update_topology(self) -> None:
        """Let the masks follow the scores.

        Not with `set_mask`, as the optimiser goes on with the moments of weights that leave for a
        while.
        """
        for name, weight in self.weights.items():
            mask = self.masks[name]
            self.values[name].copy_(self._value(name))
            weight.copy_(self.values[name])
            mask.copy_(self._highest(name))
            self.explored[name].logical_or_(mask)

    def consolidated(self) -> dict[str, Tensor]:
        """Every weight with the value that it had when it was last active."""
        return {name: self._value(name) for name in self.weights}

    def state_dict(self) -> dict[str, Any]:
        """As `SparseTraining.state_dict`, with scores and the values of inactive weights."""
        kept = {"scores": copies(self.scores), "values": copies(self.values)}
        return super().state_dict() | kept

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; load model and optimiser before this."""
        super().load_state_dict(state)
        for name, score in self.scores.items():
            score.copy_(state["scores"][name])
            self.values[name].copy_(state["values"][name])

    def _highest(self, name: str) -> Tensor:
        size = self.scores[name].detach().abs()
        return select_top(size, torch.ones_like(size, dtype=torch.bool), self.budget[name])

    def _value(self, name: str) -> Tensor:
        return torch.where(self.masks[name], self.weights[name].detach(), self.values[name])
