"""Choosing units by activation, and growing connections at random: what NISPA draws and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt

import torch
from torch import Tensor

from dstcl.sparse.masks import random_scores


def most_active(mass: Tensor, share: float) -> Tensor:
    """The fewest units that together have at least a share of the activation; one at least.

    Args:
        mass: activation of each unit, not negative, (units,).
        share: from 0 to 1.

    Returns:
        bool (units,); of equally active units the first ones.
    """
    values, order = mass.double().sort(descending=True, stable=True)
    together = values.cumsum(0)
    few = int((together < share * together[-1]).count_nonzero()) + 1
    chosen = torch.zeros_like(mass, dtype=torch.bool)
    chosen[order[:few]] = True
    return chosen


def rows_of(weight: Tensor, units: Tensor) -> Tensor:
    """True for all connections into units, bool (out,), of the weight's shape."""
    return units.view(-1, *[1] * (weight.dim() - 1)).expand_as(weight)


def outgoing_first(
    mask: Tensor, room: Tensor, inputs: Tensor, generator: torch.Generator
) -> Tensor:
    """Random scores for growth, in which one connection from each idle input comes first.

    An input is idle if it has no connection at all: what a plastic unit computes would be lost. The
    public code gives such units a connection before it grows others.

    Args:
        mask: connections that there are, bool (out, in / groups, *kernel).
        room: where one can be grown.
        inputs: those that may come first, bool (in,).
        generator: of the draws.
    """
    scores = random_scores(mask.shape, generator, mask.device)
    per_group = mask.shape[1]
    groups = len(inputs) // per_group
    form = (groups, mask.shape[0] // groups, per_group, prod(mask.shape[2:]))

    def by_input(values: Tensor) -> Tensor:
        """As (in, connections of an input)."""
        return values.view(form).transpose(1, 2).reshape(len(inputs), -1)

    open_scores = by_input(scores.masked_fill(~room, -1))
    idle = inputs & ~by_input(mask).any(1)
    first = torch.zeros_like(open_scores)
    first[idle, open_scores[idle].argmax(1)] = 1
    placed = first.view(groups, per_group, form[1], form[3]).transpose(1, 2)
    return scores + placed.reshape(mask.shape)


def drawn_like(
    values: Tensor, shape: tuple[int, ...] | torch.Size, generator: torch.Generator
) -> Tensor:
    """Normal draws with mean and standard deviation of values.

    Where there are no values, of mean zero and variance 2 over the outputs that an input reaches.
    """
    drawn = torch.randn(shape, generator=generator, device=generator.device).to(values.device)
    if not len(values):
        return sqrt(2 / (shape[0] * prod(shape[2:]))) * drawn
    return float(values.mean()) + float(values.std(correction=0)) * drawn


@torch.no_grad()
def draw_anew(
    weights: Mapping[str, Tensor], frozen: Mapping[str, Tensor], generator: torch.Generator
) -> None:
    """Give all weights that are not frozen new values: normal, with variance 2 over the outputs
    that an input reaches (He et al. 2015, equation 14), as in the public code."""
    for name, weight in weights.items():
        reached = weight.shape[0] * weight[0, 0].numel()
        values = torch.randn(weight.shape, generator=generator, device=generator.device)
        fresh = sqrt(2 / reached) * values.to(weight.device)
        weight.copy_(torch.where(frozen[name], weight, fresh))
