"""Growth by two criteria at once: a share of what is grown by one of them, the rest by another."""

from __future__ import annotations

from dataclasses import dataclass, field

from dstcl.sparse.criteria import Criterion, Growth, GrowthPlan, growth_plan

MIXED_IN_STRUCTURE = "a layer with a structure grows by one criterion, not by a mix of two"


@dataclass(frozen=True)
class MixedGrowth(Criterion):
    """A criterion of which another one takes the first pick.

    Of ``count`` weights that a layer grows, ``round(share * count)`` have the highest scores of
    ``other``, and the rest the highest of this one among the candidates that are left. So counts
    are exact whatever the share.

    Attributes:
        other: the criterion that picks first.
        share: of the weights grown, in [0, 1].
    """

    other: Criterion = field(kw_only=True)
    share: float = field(kw_only=True)

    def picked_first(self, count: int) -> int:
        """How many of so many weights the other criterion picks; halves are rounded up."""
        return int(self.share * count + 0.5)


def is_mixed(plan: GrowthPlan) -> bool:
    """Whether a plan has a criterion of which another takes the first pick."""
    return any(isinstance(criterion, MixedGrowth) for criterion in (plan.first, plan.then))


def mixed_growth(grow: Growth, other: Growth, share: float) -> Criterion:
    """A growth of which a share is by another criterion; one of the two where the share is 0 or 1.

    Args:
        grow, other: names or criteria, as ``grow=`` takes them, without a switch between two.
        share: of the growth that is ``other``'s.

    Raises:
        ValueError: a share outside [0, 1], or a growth that switches.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: {share}; should be from 0 to 1")
    base, first = (growth_plan(one) for one in (grow, other))
    for plan in (base, first):
        if plan.first is not plan.then:
            raise ValueError(f"grow: {plan.first.name!r} switches; a mix is of single criteria")
    if share in (0, 1):
        return first.first if share else base.first
    own, others = base.first, first.first
    return MixedGrowth(
        f"{own.name} and {share:g} {others.name}",
        own.score,
        own.needs_gradient or others.needs_gradient,
        own.needs_momentum or others.needs_momentum,
        other=others,
        share=share,
    )
