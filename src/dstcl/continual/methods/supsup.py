"""Supermasks: weights stay random, a task learns which to use (Wortsman et al. 2020)."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import torch
from torch import nn

from dstcl.continual.methods.base import Method, OpenTask
from dstcl.continual.methods.scores import ScoredTraining
from dstcl.continual.subnets import SubnetStore
from dstcl.sparse import SparseTraining, maskable_weights


class RandomWeightStore(SubnetStore):
    """A network whose maskable weights are never trained: signs at random, one size a layer.

    The size is the standard deviation of Kaiming's normal draw for ReLU, the square root of 2 over
    the inputs of a unit ("signed Kaiming constant", as in section 4 of the paper and in its public
    code); the signs are those of the network's initial weights. Nothing but a seed has to be kept
    of them, and no task takes room from another.
    """

    def __init__(
        self, network: nn.Module, seed: int, *, own_heads: bool = True, **switches: Any
    ) -> None:
        super().__init__(network, seed, own_heads=own_heads, **switches | {"keep_free": True})
        for name, weight in maskable_weights(network, exclude=self.unmasked).items():
            size = sqrt(2 / prod(weight.shape[1:]))
            self.dense[name] = torch.where(weight.detach() < 0, -size, size)


class Supermasks(Method):
    """A mask per task over random weights: the highest scores of each layer.

    Equation 1 of the paper with the edge-popup rule that it takes from Ramanujan et al. 2020: a
    task's mask is the top share of each layer by score, scores learn by the straight-through
    gradient, weights do not. Every task begins with fresh scores. ``density`` is the share.
    """

    reads = ()
    keeps = ("masks",)
    trains = ("scores",)
    store = RandomWeightStore

    def training(self, task: OpenTask) -> SparseTraining:
        """See `Method.training`."""
        everything = {n: torch.ones_like(w, dtype=torch.bool) for n, w in task.store.dense.items()}
        return ScoredTraining(task.network, task.optimizer, frozen=everything, **self.drawn(task))

    def dense_gradient_share(self, steps: int, task: int) -> float:
        """Every score has a gradient in every step."""
        return 1.0
