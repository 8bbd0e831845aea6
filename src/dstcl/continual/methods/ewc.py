"""Elastic weight consolidation: weights that mattered to earlier tasks are held by springs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from dstcl.continual.methods.base import OpenTask
from dstcl.continual.methods.finetune import FineTuning
from dstcl.continual.scoring import Outputs
from dstcl.continual.subnets import SubnetStore
from dstcl.data.batches import Examples, evaluation_batches
from dstcl.nested import copies
from dstcl.seeds import generator
from dstcl.sparse import SparseTraining, maskable_weights
from dstcl.study.fields import Between, Settings
from dstcl.study.run import Run


@dataclass(frozen=True, kw_only=True)
class EwcSettings(Settings):
    """Settings of elastic weight consolidation."""

    strength: Annotated[float, Between(ge=0)] = 100.0
    """Lambda of the penalty, for a loss that is a mean over images."""


class EwcMemory:
    """The quadratic penalties of all finished tasks, kept as two tensors a layer.

    Kirkpatrick et al. 2017, equation 3, with one penalty per task:
    ``strength / 2 * sum_k sum_i F[k, i] (w[i] - w[k, i])^2``. Its gradient needs only
    ``sum_k F[k]`` and ``sum_k F[k] w[k]``.

    Args:
        strength: lambda of that equation, for a loss that is a mean over images.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.fisher: dict[str, Tensor] = {}
        self.pull: dict[str, Tensor] = {}

    def add(self, weights: Mapping[str, Tensor], fisher: Mapping[str, Tensor]) -> None:
        """Remember a finished task: its weights and their diagonal Fisher information."""
        for name, weight in weights.items():
            pull = fisher[name] * weight.detach()
            self.fisher[name] = (
                self.fisher[name] + fisher[name] if name in self.fisher else fisher[name]
            )
            self.pull[name] = self.pull[name] + pull if name in self.pull else pull

    def gradient(self, name: str, weight: Tensor) -> Tensor:
        """Of the penalty, at these weights."""
        return self.strength * (self.fisher[name] * weight - self.pull[name])

    def state_dict(self) -> dict[str, Any]:
        """Both sums."""
        sums = {"fisher": self.fisher, "pull": self.pull}
        return {key: copies(tensors) for key, tensors in sums.items()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self.fisher = {name: tensor.to(device) for name, tensor in state["fisher"].items()}
        self.pull = {name: tensor.to(device) for name, tensor in state["pull"].items()}


class EwcTraining(SparseTraining):
    """Dense training whose gradients include the penalty of `EwcMemory`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        memory: EwcMemory,
        **sparse: Any,
    ) -> None:
        super().__init__(model, optimizer, **sparse)
        self.memory = memory

    def before_masking(self, gradients: list[Tensor]) -> None:
        """Add the penalty's gradient."""
        if not self.memory.fisher:
            return
        for gradient, (name, weight) in zip(gradients, self.weights.items(), strict=True):
            gradient.add_(self.memory.gradient(name, weight))


def diagonal_fisher(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    outputs: Outputs,
    draws: torch.Generator,
) -> dict[str, Tensor]:
    """Diagonal of the Fisher information, a mean over images, for each weight.

    Labels are drawn from the network's own predictions, as the definition asks (with the data's
    labels it would be the "empirical Fisher"; Kunstner et al. 2019). Scores of different images are
    then independent with mean zero, so the square of a batch's summed gradient estimates the sum of
    the images' squares without bias, and no image needs a backward pass of its own.
    """
    network.eval()
    fisher = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    images_seen = 0
    for images, _ in batches:
        logits = outputs.of_task(network(images))
        chances = logits.detach().softmax(1).to(draws.device)
        drawn = torch.multinomial(chances, 1, generator=draws).squeeze(1).to(logits.device)
        loss = nn.functional.cross_entropy(logits, drawn, reduction="sum")
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for name, gradient in zip(weights, gradients, strict=True):
            fisher[name].addcmul_(gradient, gradient)
        images_seen += len(images)
    return {name: total / images_seen for name, total in fisher.items()}


class Ewc(FineTuning):
    """Fine-tuning with elastic weight consolidation (Kirkpatrick et al. 2017)."""

    settings = EwcSettings

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._memory = EwcMemory(self.settings.strength)

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        return EwcTraining(task.network, task.optimizer, memory=self._memory, **self.common(task))

    def remember(self, store: SubnetStore, examples: Examples, outputs: Outputs, task: int) -> None:
        """Measure how much each weight matters to the finished task."""
        draws = generator(self.run.seed, "fisher", task)
        weights = maskable_weights(store.network, store.unmasked)
        batch_size = self.run.training.batch_size
        batches = evaluation_batches(examples, batch_size, shuffle=True, generator=draws)
        fisher = diagonal_fisher(store.network, weights, batches, outputs, draws)
        self._memory.add(weights, fisher)

    def state_dict(self) -> dict[str, Any]:
        """The penalties of finished tasks."""
        return self._memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self._memory.load_state_dict(state, device)
