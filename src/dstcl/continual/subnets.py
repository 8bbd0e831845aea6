"""One dense store of weights, and for each finished task a mask and a local state over it.

A weight used by a task is *frozen* for all later ones: they may use it, never change it. What is
not maskable (under the protocol "corrected": head, batch norm, biases) belongs to one task alone
and is kept with its mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from dstcl.continual.capacity import capacity_rows, used_fraction
from dstcl.networks.head import find_head
from dstcl.seeds import generator
from dstcl.sparse import PackedMasks, SparseTraining, maskable_weights, pack_masks


class InvariantError(AssertionError):
    """A property that the corrected protocol guarantees does not hold: a bug, not bad luck."""


class DivergedError(ValueError):
    """Training has left the finite numbers: a matter of its settings, not of the method."""


@dataclass(frozen=True)
class Subnet:
    """What one finished task adds to the store.

    Attributes:
        masks: bool, by maskable weight; packed, so that many tasks take little memory.
        local: parameters and buffers that belong to the task alone, by name.
    """

    masks: PackedMasks
    local: dict[str, Tensor]


class SubnetStore:
    """The consolidated network and its sub-networks.

    Args:
        network: freshly initialised; its weights become the first dense values.
        seed: of the run; decides the initial heads.
        own_heads: every task gets a fresh head outside the masks; else the head is masked, shared
            and frozen like any layer.
        own_norms: every task gets a fresh batch norm; else all tasks go on with the same one.
        keep_free: weights that no task has used keep their random values until one does; else
            they are set to zero after each task.
    """

    def __init__(
        self,
        network: nn.Module,
        seed: int,
        *,
        own_heads: bool = True,
        own_norms: bool = True,
        keep_free: bool = True,
    ) -> None:
        self.network = network
        self.seed = seed
        self.own_heads = own_heads
        self.keep_free = keep_free
        name, self._head = find_head(network)
        self.unmasked = [name] if own_heads else []
        self._common = set() if own_norms else _norm_tensors(network)
        weights = maskable_weights(network, exclude=self.unmasked)
        self.dense = {name: weight.detach().clone() for name, weight in weights.items()}
        self.used = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in self.dense.items()}
        self.subnets: list[Subnet] = []
        self._initial_local = {name: tensor.clone() for name, tensor in self._local().items()}

    def open_task(self, task: int) -> None:
        """Load the dense values, a fresh batch norm and a fresh head for task ``task`` (from 0)."""
        self._load(self.dense, self._initial_local)
        if not self.own_heads:
            return
        bound = 1 / sqrt(self._head.in_features)
        draws = generator(self.seed, "head", task)
        with torch.no_grad():
            for parameter in self._head.parameters():
                values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=draws)
                parameter.copy_(values)

    def close_task(self, trained: SparseTraining) -> None:
        """Keep what a finished task trained, and freeze the weights it uses.

        Raises:
            DivergedError: a weight is not finite; nothing is kept.
            InvariantError: a weight of an earlier task changed.
        """
        for name, weight in trained.weights.items():
            if not weight.isfinite().all():
                raise DivergedError(f"{name!r} is not finite; training diverged")
        values = trained.consolidated()
        for name, used in self.used.items():
            if not torch.equal(values[name][used], self.dense[name][used]):
                raise InvariantError(f"a frozen weight of {name!r} changed")
        self._keep_subnet(trained)
        self.used = {name: used | trained.masks[name] for name, used in self.used.items()}
        if not self.keep_free:
            values = {name: value * self.used[name] for name, value in values.items()}
        self.dense = values

    def activate(self, task: int) -> None:
        """Load the finished sub-network of a task (from 0) into the network."""
        subnet = self.subnets[task]
        masked = {name: value * subnet.masks[name] for name, value in self.dense.items()}
        self._load(masked, subnet.local)

    def frozen(self) -> Mapping[str, Tensor]:
        """True where the next task must not change a weight; empty before the first task."""
        return self.used if self.subnets else {}

    def common(self) -> dict[str, Tensor]:
        """Parameters and buffers that all tasks go on with, as the last one left them."""
        state = self.network.state_dict()
        return {name: state[name] for name in sorted(self._common)}

    def capacity(self) -> list[dict[str, int | str]]:
        """For each task and layer: size, active, new, shared and (afterwards) free weights."""
        return capacity_rows([subnet.masks for subnet in self.subnets])

    def used_fraction(self) -> float:
        """Weights that some task uses over the maskable weights of one network."""
        return used_fraction([subnet.masks for subnet in self.subnets])

    def state_dict(self) -> dict[str, Any]:
        """Everything finished tasks left."""
        return {
            "dense": self.dense,
            "used": self.used,
            "subnets": [{"masks": s.masks.packed, "local": s.local} for s in self.subnets],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.dense = self._to_device(state["dense"])
        self.used = self._to_device(state["used"])
        self.subnets = [
            Subnet(self._masks(s["masks"]), self._to_device(s["local"])) for s in state["subnets"]
        ]

    @property
    def _device(self) -> torch.device:
        return self._head.weight.device

    def _to_device(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self._device) for name, tensor in tensors.items()}

    def _masks(self, packed: Mapping[str, Tensor]) -> PackedMasks:
        shapes = {name: tuple(value.shape) for name, value in self.dense.items()}
        return PackedMasks(packed, shapes, self._device)

    def _keep_subnet(self, trained: SparseTraining) -> None:
        local = {name: tensor.detach().clone() for name, tensor in self._local().items()}
        self.subnets.append(Subnet(self._masks(pack_masks(trained.masks)), local))

    def _local(self) -> dict[str, Tensor]:
        state = self.network.state_dict()
        return {n: t for n, t in state.items() if n not in self.dense and n not in self._common}

    def _load(self, weights: dict[str, Tensor], local: dict[str, Tensor]) -> None:
        self.network.load_state_dict(self.common() | weights | local)


class SequentialStore(SubnetStore):
    """The same weights trained by one task after the other: nothing is frozen, so tasks forget.

    Each task keeps its own head and batch norm where the protocol gives it one; a finished task is
    evaluated with the weights of the last one.
    """

    def close_task(self, trained: SparseTraining) -> None:
        """Keep the weights as the task left them."""
        self._keep_subnet(trained)
        self.dense = trained.consolidated()

    def frozen(self) -> Mapping[str, Tensor]:
        """Nothing is frozen."""
        return {}


class SeparateStore(SubnetStore):
    """A network for each task, all from the same initial weights: no sharing, no forgetting."""

    def close_task(self, trained: SparseTraining) -> None:
        """Keep the whole network."""
        state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.subnets.append(Subnet(self._masks(pack_masks(trained.masks)), state))

    def frozen(self) -> Mapping[str, Tensor]:
        """Nothing is frozen."""
        return {}

    def activate(self, task: int) -> None:
        """Load the network of a task (from 0)."""
        self.network.load_state_dict(self.subnets[task].local)

    def capacity(self) -> list[dict[str, int | str]]:
        """As for one network, but each task has one of its own."""
        rows = [capacity_rows([subnet.masks]) for subnet in self.subnets]
        return [row | {"task": task} for task, own in enumerate(rows, start=1) for row in own]

    def used_fraction(self) -> float:
        """The number of networks."""
        return float(len(self.subnets))


def _norm_tensors(network: nn.Module) -> set[str]:
    """Names of all parameters and buffers of batch-norm layers."""
    norms = {n for n, m in network.named_modules() if isinstance(m, BatchNorm)}
    return {name for name in network.state_dict() if name.rpartition(".")[0] in norms}
