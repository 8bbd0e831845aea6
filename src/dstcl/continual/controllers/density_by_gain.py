"""Density per task: it grows while held-out accuracy gains, within a budget of new weights.

A fixed density gives every task as many weights, easy or hard, known or new. Here a task begins
with few and grows in steps. Weights of earlier tasks cost nothing more, so only free ones are
counted, and these are rationed over the tasks that are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean
from typing import Annotated, Any

from dstcl.continual.controllers.base import NOTHING, Controller, Decision, Seen
from dstcl.sparse.water_filling import new_weights, poured
from dstcl.study.fields import Between, Settings


@dataclass(frozen=True, kw_only=True)
class DensityByGainSettings(Settings):
    """Settings of a density that grows by what it gains."""

    start: Annotated[float, Between(gt=0, le=1)] = 1.0
    """Active weights that a task begins with, over those that the density asks for. Fixed on
    digits, as epsilon is."""
    factor: Annotated[float, Between(gt=1, le=10)] = 1.5
    """Active weights after a step over those before."""
    epsilon: Annotated[float, Between(ge=0, le=1)] = 0.03
    """Accuracy that a step has to gain, by the fitted curve, for the next one to be made."""
    points: Annotated[int, Between(ge=2, le=1000)] = 3
    """Epochs that the curve is fitted to: the last ones."""
    kappa: Annotated[float, Between(ge=1)] = 2.0
    """New weights that a task may take, over an equal part of those that are left in the budget."""
    begin: Annotated[float, Between(ge=0, le=1)] = 0.25
    """Share of a task's steps before which there is no step: nothing is gained yet by any number of
    weights where nothing is learned yet."""
    until: Annotated[float, Between(ge=0, le=1)] = 0.75
    """Share of a task's steps after which its density is final."""


class DensityByGain(Controller):
    """A density for each task, in steps, while they pay and the task's quota has room.

    The budget of a layer is as many new weights as all tasks would need at the run's density
    without sharing any, at most the layer. A task's quota is ``kappa`` times an equal part of what
    is left of it; what a task leaves is there for later ones. So the sequence never uses more new
    weights than a fixed density may, whatever is decided.

    The curve is a line over the logarithm of the number of active weights. Epochs and weights
    increase together, so the line also has the gain of training longer: steps go on rather too
    long than too short.
    """

    needs_validation = True
    changes_density = True
    decides_counts = True
    settings = DensityByGainSettings

    def __init__(self, *, seed: int = 0, **settings: object) -> None:
        super().__init__(seed=seed, **settings)
        self._quota: dict[str, int] = {}
        self._points: list[tuple[int, float]] = []
        self._final = False

    def before_task(self, seen: Seen) -> Decision:
        """The few weights that the task begins with, and its quota of new ones."""
        asked, left = seen.active, seen.tasks - seen.task
        self._quota = {}
        evidence_of = {}
        for name, size in seen.sizes.items():
            budget = min(size, seen.tasks * asked[name])
            used = size - seen.free[name]
            rest = max(0, budget - used)
            share = int(self.settings.kappa * rest / left)
            # A layer without any weight would not let anything through.
            self._quota[name] = min(rest, max(share, 0 if used else 1))
            evidence_of[name] = f"budget {budget}; used {used}; tasks left {left}"
        first = {name: max(1, round(self.settings.start * count)) for name, count in asked.items()}
        active = poured(first, self._limits(seen))
        if (found := sum(active.values())) < (wanted := sum(first.values())):
            short = f"; quotas have room for {found} of {wanted} weights"
            evidence_of = {name: words + short for name, words in evidence_of.items()}
        new = {
            name: new_weights(count, seen.sizes[name], seen.free[name], self._quota[name])
            for name, count in active.items()
        }
        self._points, self._final = [], False
        return Decision(active=active, new=new, quota=dict(self._quota), evidence_of=evidence_of)

    def after_update(self, seen: Seen) -> Decision:
        """A step, once after every epoch until one does not pay."""
        epochs = seen.validation[len(self._points) :]
        if self._final or not epochs:
            return NOTHING
        count = sum(seen.active.values())
        # Between two looks the number of weights was the same.
        self._points += [(count, accuracy) for accuracy in epochs]
        if seen.step < self.settings.begin * seen.total_steps:
            return NOTHING
        if seen.step > self.settings.until * seen.total_steps:
            return self._ended(f"step {seen.step} of {seen.total_steps}")
        gain = self._gain()
        told = f"validation {epochs[-1]:.4f}"
        if gain is not None:
            told += f"; fitted gain of a step {gain:.4f}; epsilon {self.settings.epsilon:g}"
            if gain <= self.settings.epsilon:
                return self._ended(told)
        wanted = {name: round(self.settings.factor * n) for name, n in seen.active.items()}
        active = poured(wanted, self._limits(seen))
        more = {name: n for name, n in active.items() if n != seen.active[name]}
        if not more:
            return self._ended(f"{told}; quotas have no room")
        return Decision(active=more, evidence=told)

    def memory(self) -> dict[str, Any]:
        """Of the task: quotas, epochs, and whether its density is final."""
        return {"quota": dict(self._quota), "points": list(self._points), "final": self._final}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """See `Controller.remember`."""
        self._quota, self._final = dict(memory["quota"]), memory["final"]
        self._points = [(count, accuracy) for count, accuracy in memory["points"]]

    def _limits(self, seen: Seen) -> dict[str, int]:
        """Active weights that each layer may have: all used ones, and its quota."""
        free = seen.free
        return {name: size - free[name] + self._quota[name] for name, size in seen.sizes.items()}

    def _ended(self, evidence: str) -> Decision:
        self._final = True
        return Decision(evidence=f"{evidence}; the density is final")

    def _gain(self) -> float | None:
        """Accuracy that the next step gains by the curve; None where no curve can be fitted."""
        slope = slope_over_log(self._points[-self.settings.points :])
        return None if slope is None else slope * log(self.settings.factor)


def slope_over_log(points: Sequence[tuple[int, float]]) -> float | None:
    """Slope of the least-squares line of the second numbers over the logarithms of the first.

    Returns:
        None where all of these are the same.
    """
    places = [log(count) for count, _ in points]
    middle, mean = fmean(places), fmean(value for _, value in points)
    spread = sum((place - middle) ** 2 for place in places)
    if len({count for count, _ in points}) < 2:
        return None
    rise = sum((p - middle) * (value - mean) for p, (_, value) in zip(places, points))
    return rise / spread
