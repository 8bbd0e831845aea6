"""One dense store of weights, and for each finished task a mask and a local state over it.

A weight used by a task is *frozen* for all later ones: they may use it, never change it. What is
not maskable (head, batch norm, biases) belongs to one task alone and is kept with its mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from dstcl.models import Network
from dstcl.seeds import generator
from dstcl.sparse import SparseTraining, maskable_weights

HEAD = "head"


class InvariantError(AssertionError):
    """A property that the corrected protocol guarantees does not hold: a bug, not bad luck."""


@dataclass(frozen=True)
class Subnet:
    """What one finished task adds to the store.

    Attributes:
        masks: bool, by maskable weight.
        local: parameters and buffers that belong to the task alone, by name.
    """

    masks: dict[str, Tensor]
    local: dict[str, Tensor]


class SubnetStore:
    """The consolidated network and its sub-networks.

    Args:
        network: freshly initialised; its weights become the first dense values, so weights that
            no task has used keep their random values until one does.
        seed: of the run; decides the initial heads.
    """

    def __init__(self, network: Network, seed: int) -> None:
        self.network = network
        self.seed = seed
        weights = maskable_weights(network, exclude=[HEAD])
        self.dense = {name: weight.detach().clone() for name, weight in weights.items()}
        self.used = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in self.dense.items()}
        self.subnets: list[Subnet] = []
        self._initial_local = {name: tensor.clone() for name, tensor in self._local().items()}

    def open_task(self, task: int) -> None:
        """Load the dense values, a fresh batch norm and a fresh head for task ``task`` (from 0)."""
        self._load(self.dense, self._initial_local)
        head = self.network.head
        bound = 1 / sqrt(head.in_features)
        draws = generator(self.seed, "head", task)
        with torch.no_grad():
            for parameter in head.parameters():
                values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=draws)
                parameter.copy_(values)

    def close_task(self, trained: SparseTraining) -> None:
        """Keep what a finished task trained, and freeze the weights it uses.

        Raises:
            InvariantError: a weight of an earlier task changed.
        """
        values = trained.consolidated()
        for name, used in self.used.items():
            if not torch.equal(values[name][used], self.dense[name][used]):
                raise InvariantError(f"a frozen weight of {name!r} changed")
        masks = {name: mask.clone() for name, mask in trained.masks.items()}
        local = {name: tensor.detach().clone() for name, tensor in self._local().items()}
        self.subnets.append(Subnet(masks, local))
        self.dense = values
        self.used = {name: used | masks[name] for name, used in self.used.items()}

    def activate(self, task: int) -> None:
        """Load the finished sub-network of a task (from 0) into the network."""
        subnet = self.subnets[task]
        masked = {name: value * subnet.masks[name] for name, value in self.dense.items()}
        self._load(masked, subnet.local)

    def capacity(self) -> list[dict[str, int | str]]:
        """For each task and layer: size, active, new, shared and (afterwards) free weights."""
        rows: list[dict[str, int | str]] = []
        used = {name: torch.zeros_like(u) for name, u in self.used.items()}
        for task, subnet in enumerate(self.subnets, start=1):
            for name, mask in subnet.masks.items():
                shared = int((mask & used[name]).sum())
                active = int(mask.sum())
                used[name] |= mask
                free = mask.numel() - int(used[name].sum())
                rows.append(
                    {
                        "task": task,
                        "layer": name,
                        "size": mask.numel(),
                        "active": active,
                        "new": active - shared,
                        "shared": shared,
                        "free": free,
                    }
                )
        return rows

    def used_fraction(self) -> float:
        """Share of the maskable weights that some task uses."""
        total = sum(used.numel() for used in self.used.values())
        return sum(int(used.sum()) for used in self.used.values()) / total

    def _local(self) -> dict[str, Tensor]:
        return {n: t for n, t in self.network.state_dict().items() if n not in self.dense}

    def _load(self, weights: dict[str, Tensor], local: dict[str, Tensor]) -> None:
        self.network.load_state_dict(weights | local)
