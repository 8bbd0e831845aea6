"""When the topology changes and how much of it: update times and the prune rate."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, floor, pi

SHAPES = ("cosine", "linear", "constant")


def refuse_no_fraction(key: str, value: float) -> None:
    """Refuse what is not in [0, 1].

    Raises:
        ValueError: one line with the argument and the value.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{key}: {value}; must be from 0 to 1")


def rounded_up(rate: float, number: int) -> int:
    """The share ``rate`` of a number of weights, rounded up: 16 for an eighth of 128, though the
    product of a rate with rounding errors may lie a little above."""
    return ceil(rate * number * (1 - 1e-12))


def rounded_down(share: float, number: int) -> int:
    """The share of a number of steps, rounded down: 900 for 900/7000 of 7000, though the product of
    a share with rounding errors may lie a little below."""
    return floor(share * number * (1 + 1e-12))


@dataclass(frozen=True)
class UpdateSchedule:
    """Prune rate and update times over the steps of one task.

    Attributes:
        total_steps: optimiser steps of the task.
        update_every: steps between topology updates.
        prune_rate: fraction of a layer's active weights replaced at step 0.
        floor: the rate at the end of the decay.
        shape: "cosine" (RigL), "linear" or "constant".
        stop_at: fraction of the steps after which the topology is left alone, so that the last
            grown weights are trained. RigL stops at 0.75; 1.0 never stops.
        at_the_end: whether masks may change after the very last step too. What grows there is never
            trained.
    """

    total_steps: int
    update_every: int
    prune_rate: float = 0.5
    floor: float = 0.005
    shape: str = "cosine"
    stop_at: float = 0.75
    at_the_end: bool = True

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"unknown prune schedule {self.shape!r}; known: {', '.join(SHAPES)}")
        if self.update_every < 1 or self.total_steps < 1:
            raise ValueError("update_every and total_steps must be at least 1")
        if int(self.total_steps) != self.total_steps or int(self.update_every) != self.update_every:
            raise ValueError("update_every and total_steps must be whole numbers")
        for key in ("prune_rate", "floor", "stop_at"):
            refuse_no_fraction(key, getattr(self, key))

    @property
    def last_step(self) -> int:
        """No topology update happens after this step."""
        last = rounded_down(self.stop_at, self.total_steps)
        return last if self.at_the_end else min(last, self.total_steps - 1)

    def due(self, step: int) -> bool:
        """Whether the topology changes right after optimiser step ``step`` (counted from 1)."""
        return step % self.update_every == 0 and step <= self.last_step

    def rate(self, step: int) -> float:
        """Fraction of active weights to replace at ``step``."""
        progress = min(1.0, step / max(1, self.last_step))
        decay = {"cosine": (1 + cos(pi * progress)) / 2, "linear": 1 - progress, "constant": 1.0}
        return self.floor + (self.prune_rate - self.floor) * decay[self.shape]
