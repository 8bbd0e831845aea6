"""Growth by saturation: at random while layers have room, by gradient where they are filling up.

This is the reason that Yildirim et al. (CPAL 2024, section 5.2) give for random growth doing well
at first and gradient growth later, made into a rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dstcl.continual.controllers.base import Controller, Decision, Seen
from dstcl.study.fields import Between, BuiltInOr, Settings
from dstcl.study.growths import GROWTH_CRITERIA


@dataclass(frozen=True, kw_only=True)
class SaturationSettings(Settings):
    """Settings of growth by saturation."""

    threshold: Annotated[float, Between(gt=0, lt=1)] = 0.9
    """Free share of the fullest layer at which growth changes. Fixed on digits."""
    below: Annotated[str, BuiltInOr(GROWTH_CRITERIA)] = "gradient"
    """Growth below the threshold; above it is the run's own."""


@dataclass(frozen=True, kw_only=True)
class SaturationMixSettings(SaturationSettings):
    """Settings of growth that is mixed by saturation."""

    threshold: Annotated[float, Between(gt=0, lt=1)] = 0.5
    """Free share of the fullest layer from which on all of the growth is the other one. Not fixed
    by any run: the middle."""


class Saturation(Controller):
    """Another growth once the fullest layer has less than a share of its weights left.

    Before a task, f is the smallest share of free weights over layers that are not dense. With f at
    or above the threshold the run's growth is used (random or unfired), below it another one.
    """

    settings = SaturationSettings

    def __init__(self, *, seed: int = 0, **settings: object) -> None:
        super().__init__(seed=seed, **settings)
        self.growths = (self.settings.below,)

    def before_task(self, seen: Seen) -> Decision:
        """The growth of the task."""
        found = seen.tightest()
        if found is None:
            return Decision(growth=seen.growth, evidence="every layer is dense")
        layer, share = found
        full = share < self.settings.threshold
        evidence = f"free {share:.4f} in {layer}; threshold {self.settings.threshold:g}"
        return Decision(growth=self.settings.below if full else seen.growth, evidence=evidence)


class SaturationMix(Saturation):
    """The same without a step: the fuller the fullest layer, the more of the growth is another's.

    The share of the other growth is ``(1 - f) / (1 - threshold)``, at most 1: none of it in the
    first task, all of it from the threshold on. The rest is the run's own growth.
    """

    settings = SaturationMixSettings

    def before_task(self, seen: Seen) -> Decision:
        """How much of the growth is whose."""
        found = seen.tightest()
        if found is None:
            return Decision(growth=seen.growth, evidence="every layer is dense")
        layer, free = found
        share = min(1.0, (1 - free) / (1 - self.settings.threshold))
        evidence = f"free {free:.4f} in {layer}; all of it from {self.settings.threshold:g} on"
        mixed = (self.settings.below, round(share, 4))
        return Decision(growth=seen.growth, mixed=mixed, evidence=evidence)
