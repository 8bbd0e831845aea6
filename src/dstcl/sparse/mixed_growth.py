"""Growth by several criteria at once: each has a share of what a layer grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from dstcl.sparse.criteria import Criterion, Growth, GrowthPlan, growth_plan

MIXED_IN_STRUCTURE = "a layer with a structure grows by one criterion, not by a mix of two"
ROUNDED = 1e-3
"""How far shares may be from adding up to 1; the last criterion takes what the others leave."""


@dataclass(frozen=True)
class MixedGrowth(Criterion):
    """Criteria that pick one after another.

    Each picks the highest of its own scores among the candidates that are left, so the number of
    weights grown is exact whatever the shares.

    Attributes:
        parts: the criteria in the order in which they pick, each with its share in (0, 1).
    """

    parts: tuple[tuple[Criterion, float], ...] = field(kw_only=True)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """See `Criterion`."""
        return _mix, self.parts

    def split(self, count: int) -> list[int]:
        """How many of so many weights each criterion picks.

        Together exactly ``count``: shares are added up, and where each ends is rounded, halves up.
        Of few weights a small share may be none.
        """
        shares = accumulate(share for _, share in self.parts)
        # Shares may add up to a little more than 1.
        ends = [min(count, int(end * count + 0.5)) for end in shares]
        ends[-1] = count
        return [end - before for before, end in zip([0, *ends], ends)]


def picks(growth: Criterion, count: int) -> list[tuple[Criterion, int]]:
    """Which criteria pick how many of so many weights, in order; of a plain one all."""
    if not isinstance(growth, MixedGrowth):
        return [(growth, count)]
    return [(part, number) for (part, _), number in zip(growth.parts, growth.split(count))]


def is_mixed(plan: GrowthPlan) -> bool:
    """Whether a plan has a growth by several criteria."""
    return any(isinstance(criterion, MixedGrowth) for criterion in (plan.first, plan.then))


def shared_growth(shares: Sequence[tuple[Growth, float]]) -> Criterion:
    """A growth of which each criterion has a share; one of them where the others have none.

    Args:
        shares: names or criteria, as ``grow=`` takes them, without a switch between two, in the
            order in which they pick; each with its share. They add up to 1, or to what is left of 1
            by rounding (0.001).

    Raises:
        ValueError: shares that are negative or do not add up to 1, or a growth that switches.
    """
    parts = []
    for grow, share in shares:
        if not 0 <= share <= 1:
            raise ValueError(f"share: {share}; should be from 0 to 1")
        plan = growth_plan(grow)
        if plan.first is not plan.then:
            raise ValueError(f"grow: {plan.first.name!r} switches; a mix is of single criteria")
        if share:
            parts.append((plan.first, share))
    total = sum(share for _, share in parts)
    if abs(total - 1) > ROUNDED:
        raise ValueError(f"share: all together {total:g}; should be 1")
    return parts[0][0] if len(parts) == 1 else _mix(*parts)


def _mix(*parts: tuple[Criterion, float]) -> MixedGrowth:
    last = parts[-1][0]
    return MixedGrowth(
        " and ".join(f"{share:g} {part.name}" for part, share in parts),
        last.score,
        any(part.needs_gradient for part, _ in parts),
        any(part.needs_momentum for part, _ in parts),
        parts=parts,
    )


def mixed_growth(grow: Growth, other: Growth, share: float) -> Criterion:
    """A growth of which a share is by another criterion, which picks first.

    Args:
        grow, other: as `shared_growth` takes them.
        share: of the growth that is ``other``'s.

    Raises:
        ValueError: a share outside [0, 1], or a growth that switches.
    """
    return shared_growth([(other, share), (grow, 1 - share)])
