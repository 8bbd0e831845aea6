"""The highest scores within each of many groups: exact counts and fixed ties, as `select_top`.

Small groups are ranked by comparing all pairs, which needs no sort. For large ones the CPU looks
for the score down to which each group is taken.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from dstcl.sparse.selection import ranked, reading_is_free

SMALL = 8
"""Entries of a group up to which comparing all pairs is cheaper."""


def candidates(score: Tensor, eligible: Tensor) -> Tensor:
    """Scores for `select_in_groups`: what is not eligible ranks below everything."""
    # `where` on a random mask costs a CPU three times as much as the lower of score and limit.
    limit = eligible.to(score.dtype).sub_(0.5).mul_(inf)
    return torch.minimum(ranked(score), limit, out=limit)


def select_in_groups(values: Tensor, counts: Tensor) -> Tensor:
    """Boolean mask of exactly ``counts[g]`` eligible entries of each group, highest scores first.

    Ties go to the lower index within the group; NaN ranks below everything, together with negative
    infinity.

    Args:
        values: (groups, entries of a group), of `candidates`; each group has at least as many
            eligible entries as its count.
        counts: (groups,), integers.
    """
    if values.shape[1] <= SMALL:
        return (_ranks_by_pairs(values.t().contiguous()) < counts.to(torch.int8)).t()
    select = _select_down_to_threshold if reading_is_free(values) else _select_sorted
    return select(values.contiguous(), counts)


def _ranks_by_pairs(values: Tensor) -> Tensor:
    """How many entries of its group come before each one; (entries, groups), int8."""
    size = len(values)
    later = torch.arange(size - 1, -1, -1, dtype=torch.int8, device=values.device)
    ranks = later.unsqueeze(1).repeat(1, values.shape[1])
    for late in range(1, size):
        # Of equal ones the earlier comes first. Every later entry counted until it is behind.
        behind = (values[:late] >= values[late]).view(torch.int8)
        ranks[late] += behind.sum(0, dtype=torch.int8)
        ranks[:late] -= behind
    return ranks


def _select_sorted(values: Tensor, counts: Tensor) -> Tensor:
    """Sort every group; nothing waits for the device."""
    order = torch.sort(values, dim=1, descending=True, stable=True).indices
    first = torch.arange(values.shape[1], device=values.device) < counts.unsqueeze(1)
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, order, first)


def _select_down_to_threshold(values: Tensor, counts: Tensor) -> Tensor:
    """Take what reaches the lowest score that is taken; ties at it, if too many, by index."""
    threshold = _lowest_taken(values, counts).unsqueeze(1)
    chosen = values >= threshold
    tied = (chosen.sum(1, dtype=torch.int32) != counts).nonzero().squeeze(1)
    if len(tied):
        rows, at = values[tied], threshold[tied]
        above, ties = rows > at, rows == at
        wanted = counts[tied].unsqueeze(1) - above.sum(1, keepdim=True)
        chosen[tied] = above | (ties & (ties.cumsum(1) <= wanted))
    return chosen


def _lowest_taken(values: Tensor, counts: Tensor) -> Tensor:
    """The ``counts[g]``-th highest value of each group; infinity where the count is 0.

    NumPy partitions all groups at one rank, so each is filled up with infinities until what is
    wanted of it has that rank.
    """
    low, high = (int(count) for count in counts.aminmax())
    if high == 0:
        return torch.full((len(values),), inf, dtype=values.dtype)
    places = torch.arange(high - low).expand(len(values), -1)
    filling = torch.where(places < high - counts.unsqueeze(1), inf, -inf).to(values.dtype)
    filled = torch.cat([values, filling], dim=1)
    if filled.dtype in (torch.float16, torch.bfloat16):
        filled = filled.float()
    rank = filled.shape[1] - high
    filled.numpy().partition(rank, axis=1)
    return filled[:, rank].to(values.dtype)
