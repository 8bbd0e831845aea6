"""Channels that get other active weights, with fresh values: an exchange within a layer.

Growth of free weights cannot bring a dead channel back: they start at zero and leave a constant
output constant. So free weights of such channels are drawn anew, place and value, before the task
has trained them. (ReDo draws the incoming weights of dormant neurons anew; Sokar et al. 2023,
section 4. It also sets outgoing weights to zero, since it acts within training.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dstcl.sparse.masks import random_scores
from dstcl.sparse.selection import select_top


def drawn_anew(
    mask: Tensor,
    frozen: Tensor,
    channels: Sequence[int],
    inputs: int,
    weight: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Other places for the free active weights of some channels of a layer.

    These weights are given up, and as many are drawn at random among all free weights of the same
    channels: first one for each channel, then a second, up to ``inputs``; the rest anywhere in
    them. Where that is not enough for ``inputs`` in each, other channels give up their free active
    weights of the smallest magnitude, but never their largest active weight. So the layer has as
    many active weights as before, as many of them free, and no frozen weight comes or goes.

    Args:
        mask: active weights, (out, ...).
        frozen: weights that must not change, of the same shape.
        channels: rows of the mask.
        inputs: active free weights that each of them gets, as far as there are weights to give.
        weight: values, for magnitudes.
        generator: source of randomness.

    Returns:
        Active weights that stay, and those that are drawn; both boolean, of the mask's shape.
    """
    rows = torch.zeros(len(mask), 1, dtype=torch.bool, device=mask.device)
    rows[list(channels)] = True
    active, free, size = mask.flatten(1), ~frozen.flatten(1), weight.detach().abs().flatten(1)
    places = free & rows
    given = active & places
    others = active & free & ~rows
    largest = torch.where(active, size, -1.0).argmax(1, keepdim=True)
    others.scatter_(1, largest, False)
    wanted = places.sum(1).clamp(max=inputs).sum()
    have, want, more = torch.stack([given.sum(), wanted, others.sum()]).tolist()
    more = min(more, max(0, want - have))
    taken = select_top(-size, others, more)
    score = random_scores(places.shape, generator, mask.device)
    rank = torch.where(places, score, -1.0).argsort(1, descending=True).argsort(1)
    # Scores are below 1: first picks of all channels come before any second one.
    chosen = select_top(score + (inputs - rank).clamp(min=0), places, have + more)
    stay = active & ~given & ~taken
    return stay.view_as(mask), chosen.view_as(mask)


def fresh_values(stored: Tensor, frozen: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many initial values of a layer, (count,).

    They are drawn from the values that its free weights hold as the task begins. In a sequence of
    tasks with ``free_weights: keep`` these are those of the network's own init, whatever that is.
    Where all of them are zero, as from the second task on with ``free_weights: zero``: uniform
    between -1 and 1 over the square root of the inputs of a channel, as torch draws them.

    Args:
        stored: values of all weights as the task begins, (out, ...).
        frozen: weights of earlier tasks.
        count: how many.
        generator: source of randomness.
    """
    pool = stored[~frozen]
    if not pool.any():
        drawn = torch.rand(count, generator=generator, device=generator.device)
        return ((2 * drawn - 1) * stored[0].numel() ** -0.5).to(stored)
    place = torch.randint(len(pool), (count,), generator=generator, device=generator.device)
    return pool[place.to(pool.device)]
