"""What a structure is: which masks of a layer it allows, and how they are drawn and changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Topology:
    """A layer just before its mask changes; all tensors have the weight's shape.

    Attributes:
        mask: true where a weight is active.
        prune: the lowest of these scores go.
        grow: the highest of these scores come.
        growable: true where a weight may be grown; None if it may anywhere.
        active: how many entries of the mask are true.
        budget: how many there would be without a structure.
        rate: share of the active weights to replace.
    """

    mask: Tensor
    prune: Tensor
    grow: Tensor
    growable: Tensor | None
    active: int
    budget: int
    rate: float


class Structure(ABC):
    """A constraint on the masks of a layer of shape (out, in / groups, *kernel)."""

    name: str

    def density(self) -> float | None:
        """Of every layer that has this structure; None if it can be chosen."""
        return None

    def problem_of_shape(self, shape: Shape) -> str:
        """Why a layer of this shape cannot have the structure, in words; "" if it can."""
        return ""

    @abstractmethod
    def nearest(self, shape: Shape, wanted: int) -> int:
        """The number of active weights nearest to the one wanted, of those that are possible."""

    @abstractmethod
    def draw(self, scores: Tensor, active: int) -> Tensor:
        """The mask that has the highest scores; ``active`` as `nearest` returned it."""

    @abstractmethod
    def replace(self, layer: Topology) -> tuple[Tensor, int]:
        """The mask after one update, and how many of its entries are true."""

    @abstractmethod
    def problem_of_mask(self, mask: Tensor) -> str:
        """What about a mask breaks the structure, in words; "" if nothing does."""
