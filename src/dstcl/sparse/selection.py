"""The highest scores among eligible entries: exact counts, fixed ties, and no sort of a tensor."""

from __future__ import annotations

from math import ceil, floor, gcd, inf, sqrt

import torch
from torch import Tensor

SAMPLE = 4096
"""Scores that are looked at to guess where the threshold lies."""

MARGIN = 4.0
"""Standard deviations of the sample's rank on each side of the guess: one in 16,000 misses."""


def select_top(score: Tensor, eligible: Tensor, count: int) -> Tensor:
    """Boolean mask of exactly ``count`` eligible entries with the highest score.

    Ties go to the lower flat index, so the choice is the same on every device and never depends
    on the order in which a sort visits equal values; NaN ranks below everything, together with
    negative infinity. ``count`` is known on the host.

    Args:
        score: any shape, floating point.
        eligible: boolean, same shape; the caller guarantees at least ``count`` true entries.
        count: how many to choose.
    """
    if count == 0:
        return torch.zeros_like(eligible)
    flat_score, flat_eligible = score.flatten(), eligible.flatten()
    select = _select_few if reading_is_free(score) else _select_blindly
    return select(flat_score, flat_eligible, count).view(eligible.shape)


def reading_is_free(score: Tensor) -> bool:
    """Whether results of one operation may decide about the next at no cost.

    On the CPU they may, and most entries then need no more than two comparisons. Elsewhere the
    host would wait for the device (`nonzero` and every number read), several times a layer, which
    costs more than to rank everything.
    """
    return score.device.type == "cpu"


def _select_few(score: Tensor, eligible: Tensor, count: int) -> Tensor:
    """Take what lies above a bracket around the threshold, and rank only what lies within."""
    low, high = _bracket(score, eligible, count)
    chosen, unsure = _divide(score, eligible, low, high)
    missing = count - int(chosen.count_nonzero())
    if not 0 <= missing <= len(unsure):  # the threshold is not in the bracket
        chosen, unsure = _divide(score, eligible, -inf, inf)
        missing = min(count, len(unsure))
    if missing:
        chosen[unsure[_highest(ranked(score[unsure]), missing)]] = True
    return chosen


def _bracket(score: Tensor, eligible: Tensor, count: int) -> tuple[float, float]:
    """Two scores between which the ``count``-th highest eligible one lies, or probably so.

    Infinity stands for a side that has no limit. The sample is every n-th entry, n having no
    divisor in common with the size, so that no row, channel or kernel position is left out.
    """
    size = score.numel()
    if size < 4 * SAMPLE:
        return -inf, inf
    step = size // SAMPLE
    while gcd(step, size) != 1:
        step += 1
    sample = torch.where(eligible[::step], ranked(score[::step]), -inf)
    share = count / size
    margin = MARGIN * sqrt(len(sample) * share * (1 - share)) + 1
    lowest, highest = torch.finfo(score.dtype).min, torch.finfo(score.dtype).max
    low = _nth_highest(sample, ceil(len(sample) * share + margin))
    high = _nth_highest(sample, floor(len(sample) * share - margin))
    # At the ends of the range finite scores tie with infinite ones and NaN, which a comparison
    # with the score itself does not see.
    return low if low > lowest else -inf, high if lowest < high < highest else inf


def _nth_highest(sample: Tensor, rank: int) -> float:
    if rank < 1:
        return inf
    return float(sample.kthvalue(len(sample) - rank + 1).values) if rank <= len(sample) else -inf


def _divide(score: Tensor, eligible: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """A mask of the eligible entries above ``high``, and the indices, in order, of those that are
    not but reach ``low``."""
    above = torch.zeros_like(eligible) if high == inf else (score > high).logical_and_(eligible)
    reach = eligible if low == -inf else (score >= low).logical_and_(eligible)
    return above, (reach ^ above).nonzero().squeeze(1)


def _select_blindly(score: Tensor, eligible: Tensor, count: int) -> Tensor:
    """Rank all entries; nothing waits for the device."""
    return _highest(torch.where(eligible, ranked(score), -inf), count) & eligible


def ranked(score: Tensor) -> Tensor:
    """Finite scores in which NaN and negative infinity are the lowest."""
    return score.nan_to_num(nan=torch.finfo(score.dtype).min)


def _highest(values: Tensor, count: int) -> Tensor:
    """Mask of the ``count`` highest of a vector, the first of equal ones."""
    threshold = torch.topk(values, count, sorted=False).values.min()
    above = values > threshold
    ties = values == threshold
    return above | (ties & (ties.cumsum(0) <= count - above.sum()))
