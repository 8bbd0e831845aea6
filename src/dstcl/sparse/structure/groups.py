"""The same number of active weights in each of many groups: N:M and constant fan-in.

Pruning looks at the whole layer, as without a structure; then every group grows as many weights as
it has lost, best first (SRigL; Lasby et al. 2024, section 3). So each group is exact, and how much
of it is replaced follows from its weights.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from dstcl.sparse.schedule import rounded_up
from dstcl.sparse.selection import reading_is_free, select_top
from dstcl.sparse.structure.base import Shape, Structure, Topology
from dstcl.sparse.structure.ranks import candidates, select_in_groups

CACHED = 2**18
"""Weights that a CPU looks at together."""


class Groups(Structure):
    """Groups of consecutive entries along the inputs, all with as many active weights."""

    @abstractmethod
    def gather(self, values: Tensor) -> Tensor:
        """(groups, entries of a group)."""

    @abstractmethod
    def scatter(self, grouped: Tensor, shape: Shape) -> Tensor:
        """The inverse of `gather`."""

    @abstractmethod
    def count(self, mask: Tensor) -> Tensor:
        """True entries of each group; (groups,), int32."""

    def draw(self, scores: Tensor, active: int) -> Tensor:
        """The mask that has the highest scores in each group."""
        mask = torch.ones_like(scores, dtype=torch.bool)
        groups = self.count(mask)
        counts = torch.full_like(groups, active // len(groups))
        return self._highest(scores, mask, counts)

    def replace(self, layer: Topology) -> tuple[Tensor, int]:
        """Prune layer-wide, let each group grow what it lost."""
        gone = self._gone(layer)
        kept = layer.mask & ~gone
        open_ = ~kept if layer.growable is None else ~kept & layer.growable
        return kept | self._highest(layer.grow, open_, self.count(gone)), layer.active

    def problem_of_mask(self, mask: Tensor) -> str:
        """Which numbers of active weights its groups have, if not all the same."""
        counts = self.count(mask)
        low, high = int(counts.min()), int(counts.max())
        return "" if low == high else f"{low} to {high} active weights in a group"

    def _highest(self, scores: Tensor, eligible: Tensor, counts: Tensor) -> Tensor:
        """The mask of each group's highest; on a CPU of as many outputs at a time as its cache
        holds."""
        outputs = len(scores)
        some = max(1, CACHED * outputs // scores.numel()) if reading_is_free(scores) else outputs
        groups = some * (len(counts) // outputs)
        parts = zip(scores.split(some), eligible.split(some), counts.split(groups))
        return torch.cat([self._highest_of(*part) for part in parts])

    def _highest_of(self, scores: Tensor, eligible: Tensor, counts: Tensor) -> Tensor:
        values = self.gather(candidates(scores, eligible))
        return self.scatter(select_in_groups(values, counts), tuple(scores.shape))

    def _gone(self, layer: Topology) -> Tensor:
        """What is pruned: of a group no more than it could grow without taking it back."""
        asked = rounded_up(layer.rate, layer.active)
        prune = -layer.prune
        if layer.growable is None:
            return select_top(prune, layer.mask, min(asked, layer.mask.numel() - layer.active))
        room = self.count(~layer.mask & layer.growable)
        most = torch.minimum(room, self.count(layer.mask))
        allowed = self._highest(prune, layer.mask, most)
        return select_top(prune, allowed, min(asked, int(most.sum())))


@dataclass(frozen=True)
class NofM(Groups):
    """``n`` active of every ``m`` consecutive inputs, for each output and kernel position.

    2:4 is what GPUs multiply twice as fast (Mishra et al. 2021); other patterns: Zhou et al. 2021.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m:
            raise ValueError(f"structure {self.name}: n must be at least 1 and at most m")

    @property
    def name(self) -> str:  # type: ignore[override]
        """As it is given."""
        return f"{self.n}:{self.m}"

    def density(self) -> float:
        """n / m."""
        return self.n / self.m

    def problem_of_shape(self, shape: Shape) -> str:
        """Inputs that are no multiple of m."""
        return f"{shape[1]} inputs, no multiple of {self.m}" if shape[1] % self.m else ""

    def nearest(self, shape: Shape, wanted: int) -> int:
        """There is only one."""
        return prod(shape) // self.m * self.n

    def gather(self, values: Tensor) -> Tensor:
        """(groups, m), the groups next to each other in memory."""
        positions = prod(values.shape[2:])
        grouped = values.reshape(-1, self.m, positions)
        # In this order one copy serves both this and the comparison of pairs.
        return grouped.transpose(0, 1).reshape(self.m, -1).t()

    def scatter(self, grouped: Tensor, shape: Shape) -> Tensor:
        """The inverse of `gather`."""
        positions = prod(shape[2:])
        return grouped.reshape(-1, positions, self.m).transpose(1, 2).reshape(shape)

    def count(self, mask: Tensor) -> Tensor:
        """Of the m entries of each group."""
        grouped = mask.reshape(-1, self.m, prod(mask.shape[2:]))
        return grouped.sum(1, dtype=torch.int32).flatten()

    def problem_of_mask(self, mask: Tensor) -> str:
        """Groups with more or fewer than n."""
        counts = self.count(mask)
        low, high = int(counts.min()), int(counts.max())
        return "" if low == high == self.n else f"{low} to {high} active weights in a group"


@dataclass(frozen=True)
class FanIn(Groups):
    """As many active weights for every output (SRigL; Lasby et al. 2024)."""

    name = "fan-in"

    def nearest(self, shape: Shape, wanted: int) -> int:
        """The nearest whole number of weights for each output, at least one."""
        return shape[0] * per_output(shape, wanted, shape[0])

    def gather(self, values: Tensor) -> Tensor:
        """(outputs, weights of an output); a view."""
        return values.flatten(1)

    def scatter(self, grouped: Tensor, shape: Shape) -> Tensor:
        """The inverse of `gather`."""
        return grouped.reshape(shape)

    def count(self, mask: Tensor) -> Tensor:
        """Of each output."""
        return mask.flatten(1).sum(1, dtype=torch.int32)


def per_output(shape: Shape, wanted: int, outputs: int) -> int:
    """Weights for each of so many outputs that come nearest to a number in all."""
    return max(1, min(prod(shape[1:]), int(wanted / outputs + 0.5)))
