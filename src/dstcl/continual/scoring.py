"""From logits to predictions and accuracy, by the protocol's rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Outputs:
    """Which outputs of the network belong to a task, and which compete in a prediction.

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

    def predictions(self, logits: Tensor) -> Tensor:
        """Labels within the task, (N,); out of range where another task's output is largest."""
        if self.among_all:
            return logits.argmax(1) - self.start
        return self.of_task(logits).argmax(1)


@torch.no_grad()
def measure_accuracy(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], outputs: Outputs
) -> float:
    """Share of images predicted right, in evaluation mode."""
    network.eval()
    correct, total = torch.zeros(()), 0
    for images, labels in batches:
        hits = (outputs.predictions(network(images)) == labels).sum()
        correct = correct.to(hits.device) + hits
        total += len(labels)
    return int(correct) / total
