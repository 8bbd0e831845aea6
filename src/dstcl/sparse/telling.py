"""What a sparse training says of itself: a table for people, numbers for a logger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dstcl.sparse.flops import PER_MULTIPLY_ADD, ForwardWork, forward_flops

if TYPE_CHECKING:
    from dstcl.sparse.training import SparseTraining

MOST = 20
"""Weights that stay dense that a summary names one by one."""


def summary(sparse: SparseTraining, work: ForwardWork | None) -> str:
    """A table of the masked weights, and why others are not; see `SparseTraining.summary`."""
    shared: dict[str, list[str]] = {}
    for alias, name in sparse.selection.shared.items():
        shared.setdefault(name, []).append(alias)
    head = ["weight", "shape", "density", "active", "frozen"] + (["FLOPs"] if work else [])
    rows = [head]
    for name, weight in sparse.weights.items():
        active = sparse.counts[name]
        row = [
            " = ".join([name, *shared.get(name, [])]),
            " x ".join(map(str, weight.shape)),
            f"{active / weight.numel():.4f}",
            f"{active:,}",
            f"{int(sparse.frozen[name].count_nonzero()):,}",
        ]
        if work:
            row.append(f"{PER_MULTIPLY_ADD * active * work.uses[name]:,.0f}")
        rows.append(row)
    total = sum(weight.numel() for weight in sparse.weights.values())
    lines = [*_table(rows), "", f"density {sparse.density():.4f} of {total:,} weights"]
    if work:
        flops = [
            forward_flops(counts, work.uses)
            for counts in (sparse.counts, {n: w.numel() for n, w in sparse.weights.items()})
        ]
        lines.append(
            f"{flops[0] + work.other:,.0f} FLOPs an input, {flops[1] + work.other:,.0f} if dense; "
            f"{work.other:,.0f} of both are not of these weights"
        )
    dense = list(sparse.selection.dense.items())
    lines += [f"dense: {name} ({why})" for name, why in dense[:MOST]]
    return "\n".join([*lines, *([f"and {len(dense) - MOST} more"] if len(dense) > MOST else [])])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    first, *numbers = widths
    return [
        "  ".join([row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], numbers))]).rstrip()
        for row in rows
    ]


class Changes:
    """What the last two updates of the masks did.

    Args:
        masks: as they are; copied.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self._masks = {name: mask.clone() for name, mask in masks.items()}
        self._grown: dict[str, Tensor] | None = None
        self.change: Tensor | None = None
        """Share of the active weights that the last update replaced."""
        self.survival: Tensor | None = None
        """Share of the weights grown by the update before that the last one kept."""

    def take(self, masks: Mapping[str, Tensor]) -> None:
        """Look at the masks after an update; nothing waits for the device."""
        grown = {name: mask & ~self._masks[name] for name, mask in masks.items()}
        self.change = _total(grown) / _total(masks).clamp(min=1)
        if self._grown is not None:
            kept = {name: mask & masks[name] for name, mask in self._grown.items()}
            self.survival = _total(kept) / _total(self._grown)
        self._grown = grown
        for name, mask in masks.items():
            self._masks[name].copy_(mask)


def _total(masks: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([mask.count_nonzero() for mask in masks.values()]).sum()


def log_values(sparse: SparseTraining, changes: Changes) -> dict[str, float]:
    """See `SparseTraining.log`."""
    masks = sparse.masks.values()
    dead = torch.stack([(~mask.flatten(1).any(1)).count_nonzero() for mask in masks]).sum()
    told = {
        "density": sparse.density(),
        "prune_rate": sparse.prune_rate(),
        "explored": sparse.explored_fraction(),
        "dead_units": int(dead) / sum(len(mask) for mask in masks),
    }
    for key in ("change", "survival"):
        value = getattr(changes, key)
        if value is not None and not value.isnan():  # nothing had grown that could survive
            told[key] = float(value)
    return told | {f"density/{n}": c / sparse.weights[n].numel() for n, c in sparse.counts.items()}
