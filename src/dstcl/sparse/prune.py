"""The prune criteria that are built in."""

from __future__ import annotations

import torch
from torch import Tensor

from dstcl.sparse.criteria import LayerView, register_prune


@register_prune("magnitude")
def prune_magnitude(layer: LayerView) -> Tensor:
    """Remove the weights closest to zero (RigL; Evci et al. 2020)."""
    return layer.weight.abs()


@register_prune("set")
def prune_set(layer: LayerView) -> Tensor:
    """Smallest positive and largest negative weights in equal shares (SET; Mocanu et al. 2018).

    Weights are ranked by magnitude within their sign, so that each rank holds one positive and one
    negative weight; a sign that runs out leaves the rest to the other.
    """
    weight = layer.weight.flatten()
    active = weight.nonzero().squeeze(1)
    magnitude = weight[active].abs()
    if magnitude.dtype == torch.float32:
        magnitude = magnitude.view(torch.int32)  # the same order, and sorted far faster
    active = active[magnitude.argsort(stable=True)]
    positive = weight[active] >= 0
    # 1, 2, 3, ... within each sign, from the smallest magnitude.
    rank = torch.where(positive, positive.cumsum(0), (~positive).cumsum(0))
    # Ranks of large layers do not fit into the weights' own type, if that is a short one.
    score = torch.zeros_like(weight, dtype=torch.float32 if len(rank) < 2**24 else torch.float64)
    score[active] = rank.to(score.dtype)
    return score.view_as(layer.weight)


@register_prune("taylor", gradient=True)
def prune_taylor(layer: LayerView) -> Tensor:
    """Weights whose removal changes the loss least to first order, ``(w g)^2``.

    Molchanov et al. 2019. The gradient is the dense one of the current mini-batch, so frozen
    weights are judged like others.
    """
    assert layer.gradient is not None
    return (layer.weight * layer.gradient).square()


@register_prune("random")
def prune_random(layer: LayerView) -> Tensor:
    """Remove active weights at random: the control for every informed criterion."""
    return layer.random()
