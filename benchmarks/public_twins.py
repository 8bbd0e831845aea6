"""Public code and ours as twins: both begin with the same weights, scores and heads and see the
same batches in the same order, so that whatever differs in the end comes from their rules.

What each would have begun with by itself is recorded beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import prod, sqrt
from statistics import fmean
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn

from dstcl.continual import learner
from dstcl.continual.methods.scores import ScoredTraining
from dstcl.continual.subnets import SubnetStore
from dstcl.continual.tasks import OwnTasks
from dstcl.data.batches import TrainingBatches
from dstcl.networks.build import build_network
from dstcl.networks.head import find_head
from dstcl.seeds import generator
from dstcl.sparse import select_top

CPU = torch.device("cpu")
TASKS, CLASSES, SIDE = 5, 2, 28
Pair = tuple[Tensor, Tensor]
Pairs = list[tuple[Pair, Pair]]
"""Training and test images of each task, normalised, with labels from 0."""
Masks = Sequence[Mapping[str, Tensor]]
"""Of each task, by layer: boolean, in the order of the network's layers."""


class Start(NamedTuple):
    """What a task begins with, each by layer in the order of the network; and its head's weight."""

    weights: dict[str, Tensor]
    scores: dict[str, Tensor]
    masks: dict[str, Tensor]
    head: Tensor


def batches(pairs: Pairs, task: int, size: int, epochs: int, seed: int) -> Iterator[list[Pair]]:
    """Epoch by epoch, the batches of a task in the order that a run of ours with this seed has."""
    examples = OwnTasks(pairs, CPU).examples([task], "train")
    draws = generator(seed, "batches", task)
    for _ in range(epochs):
        yield list(TrainingBatches(examples, size, "none", draws))


def perceptron(*hidden: Tensor) -> nn.Sequential:
    """Linear layers with these first weights (out, in), and a head, all without biases."""
    layers: list[nn.Module] = [nn.Flatten()]
    for weight in hidden:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data.copy_(weight)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1].shape[0], CLASSES, bias=False))


def starts(network: nn.Module, store: type[SubnetStore], density: float, seed: int) -> list[Start]:
    """What a run of ours with this seed begins each task with, where scores are drawn for it."""
    opened = store(deepcopy(network), seed)
    return [_start(opened, density, task) for task in range(TASKS)]


def _start(store: SubnetStore, density: float, task: int) -> Start:
    store.open_task(task)
    network = store.network
    sparse = ScoredTraining(
        network,
        torch.optim.SGD(network.parameters(), lr=1.0),
        density=density,
        init="uniform",
        exclude=store.unmasked,
        generator=generator(store.seed, "masks", task),
    )
    scores = {name: score.detach() for name, score in sparse.scores.items()}
    head = find_head(network)[1].weight.detach().clone()
    return Start(sparse.values, scores, sparse.masks, head)


class _Highest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, density: float) -> Tensor:
        count = int(density * scores.numel() + 0.5)
        return select_top(scores, torch.ones_like(scores, dtype=torch.bool), count).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None


def highest(scores: Tensor, density: float) -> Tensor:
    """A mask of zeros and ones, exactly as many and of equal scores the same as ours; its gradient
    goes straight through to the scores, as in public code."""
    return _Highest.apply(scores, density)


@contextmanager
def no_head_bias() -> Iterator[None]:
    """Heads of a task's own, which have a bias in runs of ours, have none here, as in public code
    whose networks have no biases at all."""

    def build(*arguments: Any, **settings: Any) -> nn.Module:
        return build_network(*arguments, **settings | {"head_bias": False})

    with patch.object(learner, "build_network", build):
        yield


def in_common(ours: Masks, public: Masks) -> float:
    """Weights that the same task of both uses, over those that it uses in either; mean over tasks.

    Random masks of density d have an expected value of about d / (2 - d).
    """

    def jaccard(pair: tuple[Mapping[str, Tensor], Mapping[str, Tensor]]) -> float:
        one, other = (torch.cat([m.flatten() for m in masks.values()]) for masks in pair)
        return int((one & other).count_nonzero()) / int((one | other).count_nonzero())

    return fmean(map(jaccard, zip(ours, public, strict=True)))


def described(start: Start) -> dict[str, list[float]]:
    """A start in numbers, one per layer.

    Scores and weights are told in units of one over the square root of a unit's inputs: uniform
    ones within that bound have a largest size of nearly 1, and a root of the mean square of 0.577.
    """

    def told(values: Mapping[str, Tensor], what: Callable[[Tensor], Tensor]) -> list[float]:
        return [
            round(float(what(value.abs())) * sqrt(prod(value.shape[1:])), 3)
            for value in values.values()
        ]

    return {
        "active": [int(mask.count_nonzero()) for mask in start.masks.values()],
        "largest_score": told(start.scores, torch.max),
        "root_mean_square_score": told(start.scores, _root_mean_square),
        "largest_weight": told(start.weights, torch.max),
        "root_mean_square_weight": told(start.weights, _root_mean_square),
    }


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()
