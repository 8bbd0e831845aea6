"""Growth chosen online, by the survival of what it grew.

Every criterion grows a part of each layer's budget, so every update has a result for each of them:
not the problem of a bandit that sees one arm, but that of prediction with expert advice. Shares are
those of Hedge (Freund and Schapire 1997), exponential in the sum of rewards, mixed with a uniform
floor as in EXP3 (Auer et al. 2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import Annotated, Any

from dstcl.continual.controllers.base import NOTHING, Controller, Decision, Seen
from dstcl.study.fields import Between, BuiltInOr, Fraction, FromList, Settings
from dstcl.study.growths import GROWTH_CRITERIA

ALL = ""
"""Where the preferences of all layers together are kept."""


@dataclass(frozen=True, kw_only=True)
class SurvivalBanditSettings(Settings):
    """Settings of growth by survival."""

    criteria: Annotated[tuple[Annotated[str, BuiltInOr(GROWTH_CRITERIA)], ...], FromList()] = (
        "gradient",
        "random",
    )
    """Criteria to choose from, in the order in which they pick."""
    horizon: Annotated[int, Between(ge=1, le=1000)] = 3
    """Updates after which it is counted which of the grown weights are still active."""
    rate: Annotated[float, Between(ge=0)] = 20.0
    """How strongly a difference in survival moves the shares; 0: equal shares for ever, which is
    the control."""
    floor: Annotated[float, Between(ge=0, le=0.5)] = 0.1
    """Smallest share of a criterion."""
    discount: Fraction = 1.0
    """What of the preferences a new task begins with: 1 all, 0 nothing."""
    layerwise: bool = False
    """Whether each layer learns by itself; else what all layers grew is counted together."""

    def __post_init__(self) -> None:
        if len(set(self.criteria)) < max(2, len(self.criteria)):
            raise ValueError(f"criteria: {list(self.criteria)}; should be two or more, each once")
        if self.floor * len(self.criteria) > 1:
            raise ValueError(
                f"floor: {self.floor:g}; should be at most 1 / {len(self.criteria)}, one over the "
                "number of criteria"
            )


class SurvivalBandit(Controller):
    """Criteria share the growth; those whose weights survive get more of it.

    A criterion's reward is the share of the weights that it grew `horizon` updates ago that are
    still active; with magnitude pruning these are the ones that have grown large. Its preference is
    the sum of rewards less the mean over criteria, times `rate`; an update counts as much as it
    grew of the active weights, so late and small ones count little. Its share is that of a softmax
    over preferences, mixed with equal shares so that none is below `floor`. A new task begins with
    `discount` times the preferences. Frozen weights that are grown are counted too.
    """

    settings = SurvivalBanditSettings

    def __init__(self, *, seed: int = 0, **settings: object) -> None:
        super().__init__(seed=seed, **settings)
        self.growths = self.settings.criteria
        self.survival_after = self.settings.horizon
        self._preferences: dict[str, dict[str, float]] = {}

    def before_task(self, seen: Seen) -> Decision:
        """The shares that a task begins with."""
        layers = list(seen.sizes) if self.settings.layerwise else [ALL]
        for layer in layers:
            of_layer = self._preferences.setdefault(layer, dict.fromkeys(self.growths, 0.0))
            for name in self.growths:
                of_layer[name] *= self.settings.discount
        return self._decision({layer: "preferences of earlier tasks" for layer in layers})

    def after_update(self, seen: Seen) -> Decision:
        """New shares, once there is something to judge."""
        evidence = {}
        for layer, results in self._results(seen).items():
            evidence[layer] = "survived " + "; ".join(
                f"{name} {share:.4f} of {number}" for name, (share, number) in results.items()
            )
            active = sum(seen.active.values()) if layer == ALL else seen.active[layer]
            self._learn(layer, results, active)
        return self._decision(evidence) if evidence else NOTHING

    def memory(self) -> dict[str, Any]:
        """The preferences."""
        return {"preferences": {layer: dict(own) for layer, own in self._preferences.items()}}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Restore what `memory` returned."""
        found = memory["preferences"]
        self._preferences = {layer: dict(own) for layer, own in found.items()}

    def shares(self, layer: str = ALL) -> dict[str, float]:
        """The share of each criterion now, rounded, in a layer or in all."""
        own = self._preferences[layer]
        highest = max(own.values())
        weights = {name: exp(own[name] - highest) for name in self.growths}
        total, floor = sum(weights.values()), self.settings.floor
        rest = 1 - floor * len(weights)
        return {name: round(floor + rest * weight / total, 4) for name, weight in weights.items()}

    def _results(self, seen: Seen) -> dict[str, dict[str, tuple[float, int]]]:
        """Survival of each criterion, and of how many weights, by layer."""
        if not self.settings.layerwise:
            found = {ALL: seen.pooled_survival()}
        else:
            found = {
                layer: {name: (share, seen.grown[layer][name]) for name, share in own.items()}
                for layer, own in seen.survival.items()
            }
        # A group of layers may grow by a criterion of its own, which is not up for choice.
        known = {
            layer: {name: result for name, result in own.items() if name in self.growths}
            for layer, own in found.items()
        }
        return {layer: own for layer, own in known.items() if own}

    def _learn(self, layer: str, results: Mapping[str, tuple[float, int]], active: int) -> None:
        """A criterion that had grown nothing stays where it is."""
        mean = sum(share for share, _ in results.values()) / len(results)
        weight = self.settings.rate * sum(number for _, number in results.values()) / active
        for name, (share, _) in results.items():
            self._preferences[layer][name] += weight * (share - mean)

    def _decision(self, evidence: dict[str, str]) -> Decision:
        shares = {layer: self.shares(layer) for layer in evidence}
        if ALL in shares:
            return Decision(shares=shares[ALL], evidence=evidence[ALL])
        return Decision(shares_of=shares, evidence_of=evidence)
