"""From logits to loss, predictions and accuracy, by the protocol's rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor, nn


class Scoring(Protocol):
    """How a batch of logits and labels becomes a loss and a number of hits."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the classes of each image's task, a scalar."""

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """True where the prediction is right, (N,)."""


@dataclass(frozen=True)
class Outputs:
    """Which outputs of the network belong to a task, and which compete in a prediction.

    Labels are positions within the task.

    Attributes:
        start, stop: the task's outputs.
        among_all: predict among all outputs, other tasks' and unlearned ones included, as the
            paper's code does; else among the task's.
    """

    start: int
    stop: int
    among_all: bool

    def of_task(self, logits: Tensor) -> Tensor:
        """(N, all outputs) to (N, classes of the task)."""
        return logits[:, self.start : self.stop]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the task's classes, a scalar."""
        return nn.functional.cross_entropy(self.of_task(logits), labels)

    def predictions(self, logits: Tensor) -> Tensor:
        """Labels within the task, (N,); out of range where another task's output is largest."""
        if self.among_all:
            return logits.argmax(1) - self.start
        return self.of_task(logits).argmax(1)

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """True where the prediction is right, (N,)."""
        return self.predictions(logits) == labels


class JointOutputs:
    """Several tasks in one batch, each image scored among the classes of its own task.

    Labels are positions among all outputs.

    Args:
        sizes: number of classes of each task, in the order of the outputs.
        among_all: see `Outputs`; concerns predictions, never the loss.
        device: of the logits.
    """

    def __init__(self, sizes: Sequence[int], among_all: bool, device: torch.device) -> None:
        owners = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self._task_of = owners.to(device)
        self._among_all = among_all

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the classes of each image's task, a scalar."""
        return nn.functional.cross_entropy(self._of_own_task(logits, labels), labels)

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """True where the prediction is right, (N,)."""
        scores = logits if self._among_all else self._of_own_task(logits, labels)
        return scores.argmax(1) == labels

    def _of_own_task(self, logits: Tensor, labels: Tensor) -> Tensor:
        other = self._task_of != self._task_of[labels].unsqueeze(1)
        return logits.masked_fill(other, -torch.inf)


def task_outputs(sizes: Sequence[int], *, own_heads: bool, among_all: bool) -> list[Outputs]:
    """The outputs of each task: the first ones of its own head, or its part of one common head."""
    starts = [0] * len(sizes) if own_heads else [0, *accumulate(sizes)][:-1]
    return [Outputs(start, start + n, among_all) for start, n in zip(starts, sizes, strict=True)]


@torch.no_grad()
def measure_accuracy(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], scoring: Scoring
) -> float:
    """Share of images predicted right, in evaluation mode."""
    network.eval()
    correct, total = torch.zeros(()), 0
    for images, labels in batches:
        hits = scoring.hits(network(images), labels).sum()
        correct = correct.to(hits.device) + hits
        total += len(labels)
    return int(correct) / total
