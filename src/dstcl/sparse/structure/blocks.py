"""Blocks of weights that come and go together."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from dstcl.sparse.schedule import rounded_up
from dstcl.sparse.selection import select_top
from dstcl.sparse.structure.base import Shape, Structure, Topology


@dataclass(frozen=True)
class Blocks(Structure):
    """Blocks of ``rows`` outputs by ``columns`` inputs, at each kernel position.

    A block's score is the sum of its weights' scores, so magnitude pruning removes the blocks with
    the least L1 norm (Narang et al. 2017 prune by the largest weight of a block instead).
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"structure {self.name}: rows and columns must be at least 1")

    @property
    def name(self) -> str:  # type: ignore[override]
        """As it is given."""
        return f"block:{self.rows}x{self.columns}"

    def problem_of_shape(self, shape: Shape) -> str:
        """Outputs or inputs that are no multiple of the block's."""
        for what, have, block in (
            ("outputs", shape[0], self.rows),
            ("inputs", shape[1], self.columns),
        ):
            if have % block:
                return f"{have} {what}, no multiple of {block}"
        return ""

    def nearest(self, shape: Shape, wanted: int) -> int:
        """The nearest whole number of blocks, at least one."""
        size = self.rows * self.columns
        return size * max(1, min(prod(shape) // size, int(wanted / size + 0.5)))

    def draw(self, scores: Tensor, active: int) -> Tensor:
        """The blocks that have the highest scores."""
        summed = self._sum(scores)
        chosen = select_top(summed, torch.ones_like(summed, dtype=torch.bool), self._blocks(active))
        return self._spread(chosen)

    def replace(self, layer: Topology) -> tuple[Tensor, int]:
        """Prune blocks, grow as many; one with a weight that may not be grown is not grown."""
        mask = self._corner(layer.mask)
        growable = None if layer.growable is None else self._split(layer.growable).all(3).all(1)
        active = self._blocks(layer.active)
        room = (
            mask.numel() - active if growable is None else int((~mask & growable).count_nonzero())
        )
        count = min(rounded_up(layer.rate, active), room)
        kept = mask & ~select_top(-self._sum(layer.prune), mask, count)
        open_ = ~kept if growable is None else ~kept & growable
        grown = select_top(self._sum(layer.grow), open_, count)
        return self._spread(kept | grown), layer.active

    def problem_of_mask(self, mask: Tensor) -> str:
        """How many blocks are active in part."""
        whole = self._split(mask)
        partly = int((whole.any(3).any(1) & ~whole.all(3).all(1)).count_nonzero())
        return f"{partly} blocks that are active in part" if partly else ""

    def _blocks(self, active: int) -> int:
        return active // (self.rows * self.columns)

    def _split(self, values: Tensor) -> Tensor:
        """(outputs / rows, rows, inputs / columns, columns, *kernel)."""
        out, into, *kernel = values.shape
        return values.reshape(
            out // self.rows, self.rows, into // self.columns, self.columns, *kernel
        )

    def _sum(self, values: Tensor) -> Tensor:
        return self._split(values).sum((1, 3))

    def _corner(self, mask: Tensor) -> Tensor:
        """Which blocks are active, as a mask without broken blocks tells by one weight of each."""
        return self._split(mask)[:, 0, :, 0]

    def _spread(self, blocks: Tensor) -> Tensor:
        """The mask of all weights."""
        rows, columns, *kernel = blocks.shape
        split = blocks.unsqueeze(1).unsqueeze(3)
        split = split.expand(rows, self.rows, columns, self.columns, *kernel)
        return split.reshape(rows * self.rows, columns * self.columns, *kernel)
