"""Active weights spread over layers by what is still free in each: exact counts within quotas.

A layer's *free* weights are those that no earlier task uses. Whoever learns several tasks in one
network may give each of them a quota of these. Weights in use may be used again by all, so a layer
can hold its used weights and its quota. What an init asks of a layer beyond that spills over to the
layers that have room, in proportion to what the init asks of them, like water that is poured into
vessels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from dstcl.sparse.masks import random_scores
from dstcl.sparse.redistribution import allocate
from dstcl.sparse.selection import select_top


@dataclass(frozen=True)
class Filling:
    """How the weights of a mask are spread.

    Attributes:
        active: weights of each layer; together as many as were asked for.
        new: those of them that are free ones.
        slack: the factor of the quotas that was used: the one asked for, or the smallest that has
            room for all where that had not.
    """

    active: dict[str, int]
    new: dict[str, int]
    slack: float

    def __post_init__(self) -> None:
        assert all(0 <= self.new[name] <= count for name, count in self.active.items())


def water_filled(
    asked: Mapping[str, int],
    sizes: Mapping[str, int],
    free: Mapping[str, int],
    tasks_left: int,
    slack: float = 1.0,
) -> Filling:
    """Spread exactly ``sum(asked)`` weights over layers, new ones within each layer's quota.

    The quota of a layer is ``slack * free / tasks_left``, rounded down. A layer gets what was asked
    of it, but at most its used weights and its quota, and at least one. The rest goes to layers
    with room, in proportion to what was asked of them. Of a layer's weights as many are new as a
    random mask would have, but no more than the quota, unless a layer has no other weight to give.

    Where all quotas together are too small, all of them are raised by the same factor, the smallest
    that has room.

    Args:
        asked: weights that an init asks of each layer, at least 1.
        sizes: weights of each layer.
        free: weights of each layer that no earlier task uses.
        tasks_left: tasks that are to be learned, the one that begins included.
        slack: how much more than an equal part of what is free a task may take.

    Raises:
        ValueError: counts that no layer can have, no task left, or a slack that is not above 0.
    """
    if tasks_left < 1 or not 0 < slack < inf:
        raise ValueError(f"tasks_left {tasks_left}, slack {slack}; both must be above 0")
    for name, count in asked.items():
        if not 1 <= count <= sizes[name] or not 0 <= free[name] <= sizes[name]:
            raise ValueError(
                f"layer {name!r}: {count} active and {free[name]} free of {sizes[name]} weights"
            )
    total = sum(asked.values())
    used_slack = _enough(total, sizes, free, tasks_left, slack)
    quotas = _quotas(free, tasks_left, used_slack)
    limits = {name: _limit(sizes[name], free[name], quotas[name]) for name in asked}
    active = poured(asked, limits)
    new = {name: new_weights(active[name], sizes[name], free[name], quotas[name]) for name in asked}
    return Filling(active, new, used_slack)


def poured(asked: Mapping[str, int], limits: Mapping[str, int]) -> dict[str, int]:
    """What is asked of each layer, at most its limit; the rest goes to layers with room, in
    proportion to what is asked of them.

    Together as many as are asked for, or all limits together where these are fewer.
    """
    active = {name: min(count, limits[name]) for name, count in asked.items()}
    room = [limits[name] - active[name] for name in asked]
    rest = min(sum(asked.values()) - sum(active.values()), sum(room))
    spilled = allocate(rest, list(asked.values()), room)
    return {name: active[name] + more for name, more in zip(asked, spilled)}


def _quotas(free: Mapping[str, int], tasks_left: int, slack: float) -> dict[str, int]:
    return {name: min(count, int(slack * count / tasks_left)) for name, count in free.items()}


def _limit(size: int, free: int, quota: int) -> int:
    return max(1, size - free + quota)


def _enough(
    total: int, sizes: Mapping[str, int], free: Mapping[str, int], tasks_left: int, slack: float
) -> float:
    """The slack, or the smallest above it whose quotas have room; to a millionth of it."""

    def has_room(slack: float) -> bool:
        quotas = _quotas(free, tasks_left, slack)
        return sum(_limit(sizes[name], free[name], quotas[name]) for name in free) >= total

    if has_room(slack):
        return slack
    low, high = slack, max(slack, float(tasks_left))  # with which every free weight may be taken
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if has_room(middle) else (middle, high)
    return high


def new_weights(active: int, size: int, free: int, quota: int) -> int:
    """Free weights among a layer's active ones: as many as a random mask would have, within the
    quota, and more only where there are not enough used ones."""
    in_proportion = int(active * free / size + 0.5)
    return max(active - (size - free), min(in_proportion, quota, free, active))


def draw_filled(mask_free: Tensor, active: int, new: int, generator: torch.Generator) -> Tensor:
    """A random mask with so many weights, of which so many are free, and no output without input.

    As many output channels as the counts allow have at least one active weight: first each channel
    gets one of its weights at random, free or used as far as there are any of these to give; what
    is left is drawn at random from all.

    Args:
        mask_free: bool, of the weight's shape ``(out, ...)``; true where no earlier task uses it.
        active: how many to choose.
        new: how many of them are free.
        generator: source of randomness.

    Returns:
        A boolean mask with exactly ``new`` free and ``active - new`` used weights.
    """
    score = random_scores(mask_free.shape, generator, mask_free.device).flatten(1)
    free = mask_free.flatten(1)
    first = _one_of_each_row(score, free, new, active - new)
    # Scores are below 1: what is marked comes first.
    ranked = score + first
    chosen = select_top(ranked, free, new) | select_top(ranked, ~free, active - new)
    return chosen.view_as(mask_free)


def _one_of_each_row(score: Tensor, free: Tensor, new: int, used: int) -> Tensor:
    """One entry of each row, free ones in at most ``new`` rows and used ones in at most ``used``,
    for as many rows as these allow."""
    best_free = torch.where(free, score, -1.0).max(1)
    best_used = torch.where(free, -1.0, score).max(1)
    only_free, only_used = best_used.values < 0, best_free.values < 0
    either = ~only_free & ~only_used
    wants_free = only_free | (either & (best_free.values > best_used.values))
    # Rows that could do with either change over where their first choice has too few to give.
    for takers, limit, sign in ((wants_free, new, 1), (~wants_free, used, -1)):
        surplus = int(takers.count_nonzero()) - limit
        movable = (takers & either).nonzero().flatten()[: max(0, surplus)]
        if surplus > 0:
            wants_free = wants_free.clone()
            wants_free[movable] = sign < 0
            break
    column = torch.where(wants_free, best_free.indices, best_used.indices)
    first = torch.zeros_like(free)
    first[torch.arange(len(free), device=free.device), column] = True
    return first
